//! Who counts what, for one worker.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Config, Model, Provider};
use crate::observe::Metrics;
use crate::observe::metrics::{Attempt, FaultStage, ModelMeter, ProviderMeter};
use crate::upstream::health::Rests;

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

    /// A request goes to this provider now. Counted when it is told what came of it, or, as
    /// cancelled, when it is dropped.
    pub(super) fn asking(&self, provider: &Provider) -> Asking<'_> {
        Asking(self.provider(provider))
    }

    /// This provider has failed.
    pub(super) fn fault(&self, provider: &Provider, stage: FaultStage) {
        if let Some(meter) = self.provider(provider) {
            meter.fault(stage);
        }
    }

    /// This provider, or one of its keys, begins to rest.
    pub(super) fn rest_begins(&self, provider: &Provider, who: Rests) {
        if let Some(meter) = self.provider(provider) {
            meter.rest_begins(who == Rests::Key);
        }
    }

    /// Notes who rests.
    pub(super) fn rest<'a>(&self, who: impl Iterator<Item = (&'a Provider, bool)>) {
        for (provider, rests) in who {
            if let Some(meter) = self.provider(provider) {
                meter.rests(rests);
            }
        }
    }

    fn provider(&self, provider: &Provider) -> Option<&ProviderMeter> {
        self.providers.get(&provider.name).map(|m| &**m)
    }
}

/// A request that is on its way to a provider.
pub(super) struct Asking<'m>(Option<&'m ProviderMeter>);

impl Asking<'_> {
    /// What came of it.
    pub(super) fn done(mut self, attempt: Attempt) {
        if let Some(meter) = self.0.take() {
            meter.attempt(attempt);
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(meter) = self.0.take() {
            meter.attempt(Attempt::Cancelled);
        }
    }
}
