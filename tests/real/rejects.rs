//! Bad input ends on dead-letter, whole and with a reason, and everything goes on.
