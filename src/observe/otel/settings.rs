//! The `OTEL_` variables of the environment.
//!
//! Source: OpenTelemetry specification, "Environment Variable Specification" and "OpenTelemetry
//! Protocol Exporter".

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry_sdk::trace::Sampler;
use url::Url;

/// The environment asks for what cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum OtelError {
    /// Not a URL.
    #[error(
        "OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: not an http or https URL, as http://localhost:4318"
    )]
    Endpoint,
    /// Another protocol.
    #[error("{0}: this program speaks http/protobuf only (its usual port is 4318)")]
    Protocol(&'static str),
    /// An unknown sampler, or a ratio that is none.
    #[error("{0}: {1}")]
    Sampler(&'static str, &'static str),
    /// A number that is none.
    #[error("{0}: not a number above zero")]
    Number(&'static str),
    /// The roots cannot be read.
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE: {}: {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What they say. Headers are read by the exporter alone.
#[derive(Debug)]
pub(super) struct Settings {
    /// Where spans are posted to.
    pub(super) endpoint: Url,
    /// Scheme, host and port of it: the rest may hold a key.
    pub(super) shown: String,
    /// PEM file of roots instead of the system's.
    pub(super) certificate: Option<PathBuf>,
    /// For one batch.
    pub(super) timeout: Duration,
    /// Most spans that may wait.
    pub(super) queue: usize,
    pub(super) sampler: Sampler,
    /// They name the service.
    pub(super) names_service: bool,
}

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const RATIO: &str = "OTEL_TRACES_SAMPLER_ARG";

impl Settings {
    /// None: there is nobody to send to, or it is switched off.
    pub(super) fn read(var: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, OtelError> {
        // An empty variable is as good as none.
        let var = |name: &str| var(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let is_off = var("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        if is_off || var("OTEL_TRACES_EXPORTER").is_some_and(|v| v == "none") {
            return Ok(None);
        }
        let url = |text: String| {
            let url = Url::parse(&text).map_err(|_| OtelError::Endpoint)?;
            let good = matches!(url.scheme(), "http" | "https") && url.has_host();
            good.then_some(url).ok_or(OtelError::Endpoint)
        };
        let endpoint = match (var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), var("OTEL_EXPORTER_OTLP_ENDPOINT")) {
            (Some(exact), _) => url(exact)?,
            (None, Some(base)) => {
                let mut url = url(base)?;
                let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
                url.set_path(&path);
                url
            }
            (None, None) => return Ok(None),
        };
        for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if let Some(protocol) = var(name) {
                if protocol != "http/protobuf" {
                    return Err(OtelError::Protocol(name));
                }
                break;
            }
        }
        let number = |name: &'static str, default: u64| match var(name) {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or(OtelError::Number(name)),
        };
        let general = number("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000)?;
        let timeout = number("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", general)?;
        let certificate =
            var("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE").or_else(|| var("OTEL_EXPORTER_OTLP_CERTIFICATE"));
        let attributes = var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let names_service = var("OTEL_SERVICE_NAME").is_some()
            || attributes.split(',').any(|pair| pair.trim_start().starts_with("service.name="));
        Ok(Some(Self {
            shown: endpoint.origin().ascii_serialization(),
            endpoint,
            certificate: certificate.map(PathBuf::from),
            timeout: Duration::from_millis(timeout),
            queue: usize::try_from(number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?).unwrap_or(2048),
            sampler: sampler(var(SAMPLER).as_deref(), var(RATIO).as_deref())?,
            names_service,
        }))
    }
}

fn sampler(name: Option<&str>, ratio: Option<&str>) -> Result<Sampler, OtelError> {
    let ratio = || match ratio {
        None => Ok(Sampler::TraceIdRatioBased(1.0)),
        Some(text) => {
            let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            ratio.map(Sampler::TraceIdRatioBased).ok_or(OtelError::Sampler(RATIO, "not a number from 0 to 1"))
        }
    };
    let parent_based = |root| Sampler::ParentBased(Box::new(root));
    Ok(match name.unwrap_or("parentbased_always_on") {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => ratio()?,
        "parentbased_always_on" => parent_based(Sampler::AlwaysOn),
        "parentbased_always_off" => parent_based(Sampler::AlwaysOff),
        "parentbased_traceidratio" => parent_based(ratio()?),
        _ => {
            return Err(OtelError::Sampler(
                SAMPLER,
                "wanted is always_on, always_off, traceidratio, or one of them with parentbased_ before it",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Option<Settings>, OtelError> {
        Settings::read(&|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");

    #[test]
    fn spans_go_where_the_environment_says() {
        for (vars, want) in [
            (&[BASE][..], "http://c:4318/v1/traces"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/x/")], "https://c/x/v1/traces"),
            (&[BASE, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:1/y?k=v")], "http://t:1/y?k=v"),
            (&[BASE, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], "http://c:4318/v1/traces"),
            (&[BASE, ("OTEL_SDK_DISABLED", "false")], "http://c:4318/v1/traces"),
        ] {
            let settings = read(vars).unwrap().unwrap();
            assert_eq!(settings.endpoint.as_str(), want);
            assert!(!settings.shown.contains('?') && want.starts_with(&settings.shown), "{}", settings.shown);
        }
        for vars in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[BASE, ("OTEL_SDK_DISABLED", "TRUE")],
            &[BASE, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(read(vars).unwrap().is_none(), "{vars:?}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_told_by_its_name() {
        for (vars, says) in [
            (
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "localhost:4317"),
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: not an http",
            ),
            (("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), "OTEL_EXPORTER_OTLP_PROTOCOL: this program"),
            (("OTEL_TRACES_SAMPLER", "sometimes"), "OTEL_TRACES_SAMPLER: wanted"),
            (("OTEL_BSP_MAX_QUEUE_SIZE", "0"), "OTEL_BSP_MAX_QUEUE_SIZE: not a number"),
            (("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"), "OTEL_EXPORTER_OTLP_TIMEOUT: not a number"),
        ] {
            let error = read(&[BASE, vars]).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let ratio = [BASE, (SAMPLER, "traceidratio"), (RATIO, "2")];
        assert!(
            read(&ratio)
                .unwrap_err()
                .to_string()
                .contains("OTEL_TRACES_SAMPLER_ARG: not a number from 0 to 1")
        );
    }
}
