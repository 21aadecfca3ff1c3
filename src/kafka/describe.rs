//! Asks a cluster to describe topics: which there are, their ids and sizes, and what we may do with them.
#![expect(unsafe_code, reason = "rust-rdkafka tells neither the id of a topic nor what we may do with it")]

use std::ffi::{CStr, CString, c_char};
use std::slice;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::bindings as sys;

use super::access::Operation;

const NO_ERROR: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// What the cluster says of one topic that it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Missing,
    /// We may not know whether it exists.
    Hidden,
    There(Described),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// That the cluster gave it when it was made; none before Kafka 2.8.
    pub id: Option<String>,
    pub partitions: i32,
    pub operations: Vec<Operation>,
}

impl Described {
    /// Who may know of a topic may at least describe it: an empty list is no answer, and refuses nothing.
    pub fn allows(&self, operation: Operation) -> bool {
        self.operations.is_empty() || self.operations.contains(&operation)
    }
}

/// In the order of the names. Creates no topic, whatever the brokers are set to.
///
/// # Errors
/// The cluster does not answer, or answers something else.
pub(super) fn topics(client: *mut sys::rd_kafka_t, names: &[&str], timeout: Duration) -> Result<Vec<Told>> {
    let names: Vec<CString> = names.iter().map(|name| CString::new(*name)).collect::<Result<_, _>>().context("a topic's name")?;
    let asked = Asked::of(client, &names, timeout)?;
    let told = asked.told()?;
    let in_order = |name: &CString| told.iter().find(|(found, _)| **found == **name).map(|(_, told)| told.clone());
    names.iter().map(|name| in_order(name).with_context(|| format!("{} was not answered", name.to_string_lossy()))).collect()
}

/// One question and its answer; freed in the order that the library wants.
struct Asked {
    queue: *mut sys::rd_kafka_queue_t,
    event: *mut sys::rd_kafka_event_t,
}

impl Asked {
    fn of(client: *mut sys::rd_kafka_t, names: &[CString], timeout: Duration) -> Result<Asked> {
        let timeout = i32::try_from(timeout.as_millis())?;
        let mut names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let mut reason = [0; 128];
        // SAFETY: the client outlives this call, which waits for the answer; names and options are copied by the request and freed by us.
        let asked = unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout, reason.as_mut_ptr(), reason.len());
            let refused = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
            if !refused.is_null() {
                sys::rd_kafka_error_destroy(refused);
            }
            let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            let queue = sys::rd_kafka_queue_new(client);
            sys::rd_kafka_DescribeTopics(client, topics, options, queue);
            sys::rd_kafka_TopicCollection_destroy(topics);
            sys::rd_kafka_AdminOptions_destroy(options);
            Asked { queue, event: sys::rd_kafka_queue_poll(queue, 2 * timeout) }
        };
        ensure!(!asked.event.is_null(), "the cluster does not answer");
        Ok(asked)
    }

    fn told(&self) -> Result<Vec<(&CStr, Told)>> {
        // SAFETY: the event is alive as long as `self`, and so is what it points to; texts and lists are copied.
        unsafe {
            if sys::rd_kafka_event_error(self.event) != NO_ERROR {
                bail!("{}", text(sys::rd_kafka_event_error_string(self.event)));
            }
            let result = sys::rd_kafka_event_DescribeTopics_result(self.event);
            ensure!(!result.is_null(), "another answer than was asked for");
            let mut count = 0;
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            ensure!(!topics.is_null() || count == 0, "no topics were described");
            (0..count).map(|index| topic(*topics.add(index))).collect()
        }
    }
}

/// # Safety
/// A description that lives as long as `'a`.
unsafe fn topic<'a>(topic: *const sys::rd_kafka_TopicDescription_t) -> Result<(&'a CStr, Told)> {
    use sys::rd_kafka_resp_err_t as Code;
    // SAFETY: by the contract of this function; what the library hands out of it lives as long.
    unsafe {
        let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic));
        let error = sys::rd_kafka_TopicDescription_error(topic);
        let code = if error.is_null() { NO_ERROR } else { sys::rd_kafka_error_code(error) };
        let told = match code {
            NO_ERROR => {
                let mut count = 0;
                sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
                Told::There(Described { id: id(topic), partitions: i32::try_from(count)?, operations: operations(topic) })
            }
            Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC => Told::Missing,
            Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => Told::Hidden,
            _ => bail!("{}: {}", name.to_string_lossy(), text(sys::rd_kafka_error_string(error))),
        };
        Ok((name, told))
    }
}

/// # Safety
/// A valid description.
unsafe fn id(topic: *const sys::rd_kafka_TopicDescription_t) -> Option<String> {
    // SAFETY: by the contract of this function.
    unsafe {
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let is_none =
            id.is_null() || (sys::rd_kafka_Uuid_most_significant_bits(id) == 0 && sys::rd_kafka_Uuid_least_significant_bits(id) == 0);
        (!is_none).then(|| text(sys::rd_kafka_Uuid_base64str(id)))
    }
}

/// # Safety
/// A valid description.
unsafe fn operations(topic: *const sys::rd_kafka_TopicDescription_t) -> Vec<Operation> {
    let mut count = 0;
    // SAFETY: by the contract of this function; the list has `count` entries.
    let all = unsafe {
        let first = sys::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
        if first.is_null() { &[][..] } else { slice::from_raw_parts(first, count) }
    };
    all.iter().copied().filter_map(Operation::of_native).collect()
}

/// # Safety
/// Null, or a text that ends in a zero byte.
unsafe fn text(pointer: *const c_char) -> String {
    // SAFETY: by the contract of this function.
    if pointer.is_null() { String::new() } else { unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned() }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once; an event of null is none.
        unsafe {
            if !self.event.is_null() {
                sys::rd_kafka_event_destroy(self.event);
            }
            sys::rd_kafka_queue_destroy(self.queue);
        }
    }
}
