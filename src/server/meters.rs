//! Who counts what, for one worker.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Config, Model};
use crate::observe::Metrics;
use crate::observe::metrics::{ModelMeter, ProviderMeter};

/// What is counted by model and by provider, looked up once for each configuration.
pub(super) struct Meters {
    unknown: Arc<ModelMeter>,
    models: HashMap<String, Arc<ModelMeter>>,
    providers: HashMap<String, Arc<ProviderMeter>>,
}

impl Meters {
    pub(super) fn new(config: &Config, metrics: &Metrics) -> Self {
        let models = config.models.iter();
        Self {
            unknown: metrics.unknown(),
            models: models.clone().map(|m| (m.id.clone(), metrics.model(&m.id, &m.provider.name))).collect(),
            providers: models
                .map(|m| (m.provider.name.clone(), metrics.provider(&m.provider.name)))
                .collect(),
        }
    }

    /// For requests that are not routed.
    pub(super) fn unknown(&self) -> Arc<ModelMeter> {
        Arc::clone(&self.unknown)
    }

    /// For requests that this model is asked for.
    pub(super) fn of(&self, model: &Model) -> Arc<ModelMeter> {
        Arc::clone(self.models.get(&model.id).unwrap_or(&self.unknown))
    }

    /// For what is asked of this provider.
    pub(super) fn provider(&self, name: &str) -> Option<&Arc<ProviderMeter>> {
        self.providers.get(name)
    }
}
