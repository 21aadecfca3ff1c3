//! One question to the cluster that rust-rdkafka has no name for, and its answer.
#![expect(unsafe_code, reason = "rust-rdkafka does not describe topics and consumer groups")]

use std::ffi::{CStr, c_char};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rdkafka::bindings as sys;

pub(super) const NO_ERROR: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// Freed in the order that the library wants.
pub(super) struct Asked {
    queue: *mut sys::rd_kafka_queue_t,
    pub event: *mut sys::rd_kafka_event_t,
}

impl Asked {
    /// `send` is called once, with the options and the queue for the answer.
    ///
    /// # Safety
    /// The client is alive, and `send` makes one request of the kind `operation` of it, with this queue, keeping neither.
    ///
    /// # Errors
    /// No answer in time, or one that says no.
    pub unsafe fn of(
        client: *mut sys::rd_kafka_t,
        operation: sys::rd_kafka_admin_op_t,
        timeout: Duration,
        send: impl FnOnce(*const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> Result<Asked> {
        let timeout = i32::try_from(timeout.as_millis())?;
        let mut reason = [0; 128];
        // SAFETY: the client outlives this call, which waits for the answer; the options are copied by the request and freed by us.
        let asked = unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client, operation);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout, reason.as_mut_ptr(), reason.len());
            let queue = sys::rd_kafka_queue_new(client);
            send(options, queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            Asked { queue, event: sys::rd_kafka_queue_poll(queue, 2 * timeout) }
        };
        ensure!(!asked.event.is_null(), "the cluster does not answer");
        // SAFETY: the event is alive as long as `asked`; its text is copied.
        unsafe {
            if sys::rd_kafka_event_error(asked.event) != NO_ERROR {
                bail!("{}", text(sys::rd_kafka_event_error_string(asked.event)));
            }
        }
        Ok(asked)
    }
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

/// # Safety
/// Null, or a text that ends in a zero byte.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    // SAFETY: by the contract of this function.
    if pointer.is_null() { String::new() } else { unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned() }
}

/// # Safety
/// Null, or an error that lives during this call.
///
/// # Errors
/// It is one.
pub(super) unsafe fn check(error: *const sys::rd_kafka_error_t) -> Result<()> {
    // SAFETY: by the contract of this function; the text is copied.
    unsafe {
        if !error.is_null() && sys::rd_kafka_error_code(error) != NO_ERROR {
            bail!("{}", text(sys::rd_kafka_error_string(error)));
        }
    }
    Ok(())
}
