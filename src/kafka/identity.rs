//! Which topic a name stands for now, and how far its log reaches: what tells whether a copy of it is still one.
#![expect(unsafe_code, reason = "rust-rdkafka does not tell the id of a topic")]

use std::ffi::{CStr, CString};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::bindings as sys;
use rdkafka::client::DefaultClientContext;

use super::client::Connection;
use super::link::Partition;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const NO_ERROR: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

pub struct Inspector {
    admin: AdminClient<DefaultClientContext>,
}

impl Inspector {
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(connection: &Connection) -> Result<Inspector> {
        Ok(Inspector { admin: connection.admin_config().create().context("cannot create a Kafka admin client")? })
    }

    /// The id that the cluster gave the topic when it was made.
    ///
    /// # Errors
    /// The cluster does not answer, has no such topic, or is too old to have ids (before Kafka 2.8).
    pub fn topic_id(&self, topic: &str) -> Result<String> {
        let name = CString::new(topic).context("a topic's name")?;
        let asked = Asked::of(self.admin.inner().native_ptr(), &name)?;
        asked.id().with_context(|| format!("cannot ask for the id of topic '{topic}'"))
    }

    /// First offset of a partition, and the one behind the last record that is decided.
    ///
    /// # Errors
    /// Its leader does not answer.
    pub fn bounds(&self, partition: &Partition) -> Result<(i64, i64)> {
        let place = || format!("cannot ask for the offsets of {}[{}]", partition.topic, partition.partition);
        self.admin.inner().fetch_watermarks(&partition.topic, partition.partition, REQUEST_TIMEOUT).with_context(place)
    }

    /// One setting of a topic, as the broker applies it.
    ///
    /// # Errors
    /// The cluster does not answer or does not let us look.
    pub fn setting(&self, topic: &str, name: &str) -> Result<Option<String>> {
        let resource = ResourceSpecifier::Topic(topic);
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let answer = runtime.block_on(self.admin.describe_configs([&resource], &options)).context("cannot read topic settings")?;
        let Some(described) = answer.into_iter().next() else { return Ok(None) };
        let described = described.map_err(|code| anyhow::anyhow!("cannot read the settings of '{topic}': {code}"))?;
        Ok(described.get(name).and_then(|entry| entry.value.clone()))
    }
}

/// One question and its answer; freed in the order that the library wants.
struct Asked {
    queue: *mut sys::rd_kafka_queue_t,
    event: *mut sys::rd_kafka_event_t,
}

impl Asked {
    fn of(client: *mut sys::rd_kafka_t, name: &CStr) -> Result<Asked> {
        let timeout = i32::try_from(REQUEST_TIMEOUT.as_millis())?;
        let mut names = [name.as_ptr()];
        let mut reason = [0; 128];
        // SAFETY: the client outlives this call, which waits for the answer; names and options are copied by the request and freed by us.
        let asked = unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout, reason.as_mut_ptr(), reason.len());
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

    fn id(&self) -> Result<String> {
        // SAFETY: the event is alive as long as `self`, and so is what it points to; texts are copied.
        unsafe {
            if sys::rd_kafka_event_error(self.event) != NO_ERROR {
                bail!("{}", text(sys::rd_kafka_event_error_string(self.event)));
            }
            let result = sys::rd_kafka_event_DescribeTopics_result(self.event);
            ensure!(!result.is_null(), "another answer than was asked for");
            let mut count = 0;
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            ensure!(count == 1 && !topics.is_null(), "{count} topics were described");
            let error = sys::rd_kafka_TopicDescription_error(*topics);
            if !error.is_null() && sys::rd_kafka_error_code(error) != NO_ERROR {
                bail!("{}", text(sys::rd_kafka_error_string(error)));
            }
            let id = sys::rd_kafka_TopicDescription_topic_id(*topics);
            let is_none =
                id.is_null() || (sys::rd_kafka_Uuid_most_significant_bits(id) == 0 && sys::rd_kafka_Uuid_least_significant_bits(id) == 0);
            ensure!(!is_none, "the cluster gives topics no ids");
            Ok(text(sys::rd_kafka_Uuid_base64str(id)))
        }
    }
}

/// # Safety
/// Null, or a text that ends in a zero byte.
unsafe fn text(pointer: *const std::ffi::c_char) -> String {
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
