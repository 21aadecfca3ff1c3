//! What a user may be allowed to do, in Kafka's words, and how a refusal is told: what was refused, and what would allow it.

use rdkafka::bindings::rd_kafka_AclOperation_t as Native;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::Connection;

/// Named as `kafka-acls.sh --operation` names them. Who may read, write or delete may also describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Read,
    Write,
    Create,
    Delete,
    Describe,
    DescribeConfigs,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Topic(String),
    Group(String),
    TransactionalId(String),
}

/// One thing that a user may do, or may not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub operation: Operation,
    pub resource: Resource,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Read => "Read",
            Operation::Write => "Write",
            Operation::Create => "Create",
            Operation::Delete => "Delete",
            Operation::Describe => "Describe",
            Operation::DescribeConfigs => "DescribeConfigs",
        }
    }

    pub(super) fn of_native(native: Native) -> Option<Operation> {
        match native {
            Native::RD_KAFKA_ACL_OPERATION_READ => Some(Operation::Read),
            Native::RD_KAFKA_ACL_OPERATION_WRITE => Some(Operation::Write),
            Native::RD_KAFKA_ACL_OPERATION_CREATE => Some(Operation::Create),
            Native::RD_KAFKA_ACL_OPERATION_DELETE => Some(Operation::Delete),
            Native::RD_KAFKA_ACL_OPERATION_DESCRIBE => Some(Operation::Describe),
            Native::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Some(Operation::DescribeConfigs),
            _ => None,
        }
    }
}

impl Resource {
    /// The option of `kafka-acls.sh` that takes its name, and the name.
    pub fn option(&self) -> (&'static str, &str) {
        match self {
            Resource::Topic(name) => ("--topic", name),
            Resource::Group(name) => ("--group", name),
            Resource::TransactionalId(name) => ("--transactional-id", name),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Resource::Topic(_) => "topic",
            Resource::Group(_) => "group",
            Resource::TransactionalId(_) => "transactional id",
        }
    }
}

impl Right {
    pub fn on_topic(operation: Operation, topic: &str) -> Right {
        Right { operation, resource: Resource::Topic(topic.to_string()) }
    }
}

/// Who may do nothing at all need not read a page of it.
const MOST_NAMES: usize = 6;

/// Rights in words, what goes together told together: `Write on topics 'a', 'b'; Read on group 'c'`.
pub fn in_words(rights: &[Right]) -> String {
    let mut parts: Vec<(Operation, &'static str, Vec<String>)> = Vec::new();
    for right in rights {
        let (kind, name) = (right.resource.kind(), format!("'{}'", right.resource.option().1));
        match parts.iter_mut().find(|(operation, known, _)| (*operation, *known) == (right.operation, kind)) {
            Some((_, _, names)) => names.push(name),
            None => parts.push((right.operation, kind, vec![name])),
        }
    }
    let part = |(operation, kind, mut names): (Operation, &str, Vec<String>)| {
        let plural = if names.len() > 1 { "s" } else { "" };
        let more = names.len().saturating_sub(MOST_NAMES);
        names.truncate(MOST_NAMES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{} on {kind}{plural} {}{more}", operation.as_str(), names.join(", "))
    };
    parts.into_iter().map(part).collect::<Vec<_>>().join("; ")
}

/// What is refused and what to do about it; `principal`: whom the brokers take us for, as far as we can tell.
pub fn not_authorised(rights: &[Right], principal: Option<&str>) -> String {
    let whom = principal.unwrap_or("User:NAME");
    let add = match rights {
        [only] => {
            let (option, name) = only.resource.option();
            let add = format!("--operation {} {option} {name}", only.operation.as_str());
            format!("add it (`kafka-acls.sh --add --allow-principal {whom} {add}`), or all that Tollgate needs:")
        }
        _ => "add all that Tollgate needs:".to_string(),
    };
    format!("not authorised: {}; {add} `tollgate topics acls {whom}` prints the commands", in_words(rights))
}

/// As [`not_authorised`], where an error says that `right` is what is missing.
pub(super) fn refusal(error: &KafkaError, right: impl FnOnce() -> Right) -> Option<String> {
    let code = match error {
        KafkaError::Transaction(inner) => inner.code(),
        other => other.rdkafka_error_code()?,
    };
    is_refusal(code).then(|| not_authorised(&[right()], None))
}

fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::TransactionalIdAuthorizationFailed)
}

/// Whom the brokers take us for: the name of SASL. Of a certificate only they know what they make of it.
pub fn principal(connection: &Connection) -> Option<String> {
    connection.common("sasl.username").map(|name| format!("User:{name}"))
}

/// No broker lets us in as who we say we are: waiting does not cure it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AuthenticationRefused(pub String);

impl AuthenticationRefused {
    /// `reason`: as the client library tells it.
    pub(super) fn of(connection: &Connection, reason: &str) -> AuthenticationRefused {
        let told = reason.split_once("SASL authentication error: ").map_or(reason, |(_, told)| told);
        let told = told.split(" (after ").next().unwrap_or(told);
        let common = |key| connection.common(key).unwrap_or_default();
        AuthenticationRefused(format!(
            "the brokers at '{}' refuse to authenticate user '{}' with {}: {told}; check username, password_file and sasl_mechanism of \
             [kafka.security], and whether the brokers know the user under that mechanism",
            connection.bootstrap_servers,
            common("sasl.username"),
            common("sasl.mechanism"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(operation: Operation, resource: Resource) -> Right {
        Right { operation, resource }
    }

    #[test]
    fn what_is_refused_is_named_with_what_would_allow_it() {
        let write = |topic: &str| Right::on_topic(Operation::Write, topic);
        let group = on(Operation::Read, Resource::Group("tollgate-intake".to_string()));
        let told = not_authorised(std::slice::from_ref(&group), Some("User:tollgate"));
        assert!(told.starts_with("not authorised: Read on group 'tollgate-intake'; add it"), "{told}");
        assert!(told.contains("--add --allow-principal User:tollgate --operation Read --group tollgate-intake`"), "{told}");
        let told = not_authorised(&[write("a"), group, write("b")], None);
        assert!(told.starts_with("not authorised: Write on topics 'a', 'b'; Read on group 'tollgate-intake'; add all"), "{told}");
        assert!(told.ends_with("`tollgate topics acls User:NAME` prints the commands"), "{told}");
        let many: Vec<Right> = ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().map(write).collect();
        assert_eq!(in_words(&many), "Write on topics 'a', 'b', 'c', 'd', 'e', 'f' and 2 more");
    }

    #[test]
    fn who_was_refused_is_named_with_what_the_broker_said() {
        let common = [("sasl.username", "ann"), ("sasl.mechanism", "PLAIN")].map(|(key, value)| (key.to_string(), value.to_string()));
        let connection = Connection { bootstrap_servers: "b:9092".to_string(), common: common.to_vec(), ..Connection::default() };
        let reason = "sasl_plaintext://b:9092/bootstrap: SASL authentication error: Authentication failed: Invalid username or password \
                      (after 301ms in state AUTH_REQ, 4 identical error(s) suppressed)";
        let told = AuthenticationRefused::of(&connection, reason).to_string();
        assert!(
            told.starts_with(
                "the brokers at 'b:9092' refuse to authenticate user 'ann' with PLAIN: Authentication failed: Invalid username or \
                 password; check"
            ),
            "{told}"
        );
        let told = AuthenticationRefused::of(&connection, "SASL PLAIN mechanism handshake failed: Broker: Unsupported").to_string();
        assert!(told.contains(" with PLAIN: SASL PLAIN mechanism handshake failed: Broker: Unsupported; check"), "{told}");
    }
}
