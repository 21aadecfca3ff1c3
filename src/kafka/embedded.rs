//! The demo's broker: librdkafka's in-process mock cluster. No transactions, no compaction, 5 MiB a partition: never more than a demo.

use anyhow::{Context as _, Result};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// Lives as long as the value.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl EmbeddedBroker {
    /// # Errors
    /// No free port, or librdkafka cannot start its threads.
    pub fn start(topics: &[(String, i32)]) -> Result<EmbeddedBroker> {
        let cluster = MockCluster::new(1).context("cannot start the in-process broker")?;
        for (name, partitions) in topics {
            cluster.create_topic(name, *partitions, 1).with_context(|| format!("cannot create topic '{name}' on the in-process broker"))?;
        }
        Ok(EmbeddedBroker { cluster })
    }

    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}
