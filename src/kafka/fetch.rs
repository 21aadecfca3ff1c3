//! Queues of single partitions, read in batches, and the bell that rings when one of them or the group has something new.
#![expect(unsafe_code, reason = "rust-rdkafka reads one message at a time; batches cost a third of that (KAFKA.md, section 5)")]

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::bindings as sys;
use rdkafka::types::RDKafkaErrorCode;

use super::batch::{Batch, Message};
use super::link::Partition;

/// Rung by the client library's threads, waited for by the one thread that owns the consumer.
#[derive(Clone, Default)]
pub struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    /// Returns when the bell has rung since the last call, at the latest after `most`.
    pub fn wait(&self, most: Duration) {
        let (rung, condition) = &*self.0;
        let guard = rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut guard, _) = condition.wait_timeout_while(guard, most, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        *guard = false;
    }

    fn ring(&self) {
        let (rung, condition) = &*self.0;
        *rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        condition.notify_one();
    }
}

/// Called by the client library when a queue that was empty gets something.
unsafe extern "C" fn ring(_client: *mut sys::rd_kafka_t, bell: *mut c_void) {
    // SAFETY: `bell` is the box that the queue's owner keeps until it has taken this callback off the queue.
    unsafe { &*bell.cast::<Bell>() }.ring();
}

/// A queue of the client library with our bell on it. Must be dropped before its client.
pub struct Queue {
    native: *mut sys::rd_kafka_queue_t,
    /// What the callback points to.
    bell: Box<Bell>,
}

impl Queue {
    /// The records of one partition, kept apart from all others. Must be made before the partition is assigned: what was fetched before
    /// would go another way.
    ///
    /// # Errors
    /// A topic's name with a zero byte in it, or no such partition.
    pub fn of_partition(client: *mut sys::rd_kafka_t, partition: &Partition, bell: &Bell) -> Result<Queue> {
        let topic = CString::new(partition.topic.as_str()).context("a topic's name")?;
        // SAFETY: the client is alive, the name is copied by the call.
        let native = unsafe { sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition.partition) };
        anyhow::ensure!(!native.is_null(), "no queue for {}[{}]", partition.topic, partition.partition);
        // SAFETY: a live queue; null ends forwarding to the queue that the group's events come from.
        unsafe { sys::rd_kafka_queue_forward(native, ptr::null_mut()) };
        Ok(Queue::with_bell(native, bell))
    }

    /// The queue that rebalances and errors of the group come from; only listened to here.
    pub fn of_group(client: *mut sys::rd_kafka_t, bell: &Bell) -> Result<Queue> {
        // SAFETY: the client is alive.
        let native = unsafe { sys::rd_kafka_queue_get_consumer(client) };
        anyhow::ensure!(!native.is_null(), "the client is no group member");
        Ok(Queue::with_bell(native, bell))
    }

    fn with_bell(native: *mut sys::rd_kafka_queue_t, bell: &Bell) -> Queue {
        let queue = Queue { native, bell: Box::new(bell.clone()) };
        let opaque = ptr::from_ref::<Bell>(&queue.bell).cast_mut().cast::<c_void>();
        // SAFETY: the box outlives the callback, which is taken off in `drop`.
        unsafe { sys::rd_kafka_queue_cb_event_enable(native, Some(ring), opaque) };
        queue
    }

    pub fn is_empty(&self) -> bool {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_length(self.native) == 0 }
    }

    /// What has arrived, at most `most` records, without waiting; and the errors that stood among them.
    pub fn batch(&self, partition: &Partition, most: usize) -> (Batch, Vec<RDKafkaErrorCode>) {
        let mut raw: Vec<*mut sys::rd_kafka_message_t> = vec![ptr::null_mut(); most];
        // SAFETY: the queue is alive, the buffer has room for `most` pointers.
        let count = unsafe { sys::rd_kafka_consume_batch_queue(self.native, 0, raw.as_mut_ptr(), most) };
        raw.truncate(usize::try_from(count).unwrap_or(0));
        let (mut messages, mut errors, mut end) = (Vec::with_capacity(raw.len()), Vec::new(), false);
        for message in raw.into_iter().map(Message::new) {
            match message.error() {
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    end = false;
                    messages.push(message);
                }
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => end = true,
                error => errors.push(RDKafkaErrorCode::from(error)),
            }
        }
        (Batch::native(partition.clone(), messages, end), errors)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once; no callback comes after it was taken off.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.native, None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.native);
        }
    }
}
