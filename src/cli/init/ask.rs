//! The questions.

use std::env;

use dialoguer::theme::{ColorfulTheme, SimpleTheme, Theme};
use dialoguer::{Confirm, FuzzySelect, Input, Password, Select};

use super::draft::{Draft, Key};
use super::known::{DEMO, KNOWN};
use super::{Listed, tidy};
use crate::cli::args::{Color, GlobalArgs};

type Asked<T> = Result<T, dialoguer::Error>;

/// Asks on the terminal: stderr and stdin.
pub(super) struct Prompts(Box<dyn Theme>);

impl Prompts {
    /// As the global options say.
    pub(super) fn new(global: &GlobalArgs) -> Self {
        tidy::start();
        let plain = global.color == Color::Never
            || (global.color == Color::Auto && env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()));
        Self(if plain { Box::new(SimpleTheme) } else { Box::<ColorfulTheme>::default() })
    }

    /// None: the demo.
    pub(super) fn provider(&self) -> Asked<Option<Draft>> {
        let mut items: Vec<String> = KNOWN.iter().map(|k| format!("{}: {}", k.title, k.base_url)).collect();
        items.push("Another OpenAI-compatible server".to_owned());
        items.push("The built-in demo model: no key, no server".to_owned());
        let chosen = Select::with_theme(&*self.0)
            .with_prompt("Where are your models?")
            .items(&items)
            .default(0)
            .max_length(20)
            .interact()?;
        let draft = match KNOWN.get(chosen) {
            Some(known) => Draft::of(known.name).unwrap_or_default(),
            None if chosen == KNOWN.len() => Draft::default(),
            None => {
                debug_assert_eq!(DEMO, "demo");
                return Ok(None);
            }
        };
        if draft.base_url.is_empty() || draft.keyless {
            let base_url = self.url(&draft.base_url)?;
            return Ok(Some(Draft { base_url, ..draft }));
        }
        Ok(Some(draft))
    }

    fn url(&self, default: &str) -> Asked<String> {
        let mut input =
            Input::with_theme(&*self.0).with_prompt("Its URL (base_url)").validate_with(|text: &String| {
                match text.split_once("://") {
                    Some(("http" | "https", rest)) if !rest.is_empty() => Ok(()),
                    _ => Err("it has to begin with http:// or https://"),
                }
            });
        if !default.is_empty() {
            input = input.default(default.to_owned());
        }
        Ok(input.interact_text()?.trim().to_owned())
    }

    pub(super) fn key(&self, draft: &Draft) -> Asked<Key> {
        let is_set = |name: &str| env::var_os(name).is_some_and(|v| !v.is_empty());
        let usual = draft.key_env.filter(|name| is_set(name));
        let mut items = Vec::new();
        if let Some(name) = usual {
            items.push((format!("In the environment variable {name}, which is set"), Where::Usual(name)));
        }
        items.push(("In another environment variable".to_owned(), Where::Variable));
        items.push(("Type it: it goes into the file, which only you can read".to_owned(), Where::File));
        if draft.key_env.is_none() {
            items.push(("No key".to_owned(), Where::Nowhere));
        }
        let chosen = Select::with_theme(&*self.0)
            .with_prompt("Where is the API key?")
            .items(items.iter().map(|(text, _)| text))
            .default(0)
            .interact()?;
        Ok(match items.get(chosen).map(|(_, place)| *place) {
            Some(Where::Usual(name)) => Key::Variable(name.to_owned()),
            Some(Where::Variable) => {
                let input =
                    Input::with_theme(&*self.0).with_prompt("Its name").validate_with(|name: &String| {
                        if is_set(name) { Ok(()) } else { Err("it is not set in this shell") }
                    });
                Key::Variable(input.interact_text()?)
            }
            Some(Where::File) => {
                Key::Text(Password::with_theme(&*self.0).with_prompt("API key").interact()?.trim().to_owned())
            }
            Some(Where::Nowhere) | None => Key::None,
        })
    }

    pub(super) fn remote_id(&self, list: &[Listed]) -> Asked<String> {
        if list.is_empty() {
            return Input::with_theme(&*self.0)
                .with_prompt("The model's name at the provider")
                .interact_text();
        }
        let names: Vec<&str> = list.iter().map(|l| l.id.as_str()).collect();
        let chosen = FuzzySelect::with_theme(&*self.0)
            .with_prompt("Which model? (type to search)")
            .items(&names)
            .default(0)
            .max_length(15)
            .interact()?;
        Ok(names.get(chosen).copied().unwrap_or_default().to_owned())
    }

    pub(super) fn id(&self, remote_id: &str) -> Asked<String> {
        let short = remote_id.rsplit('/').next().unwrap_or(remote_id).to_owned();
        Input::with_theme(&*self.0)
            .with_prompt("The name that clients will use")
            .default(short)
            .interact_text()
    }

    pub(super) fn context_window(&self) -> Asked<Option<u64>> {
        let text: String = Input::with_theme(&*self.0)
            .with_prompt("Its context window in tokens (empty: unknown)")
            .allow_empty(true)
            .validate_with(|text: &String| match text.trim().parse::<u32>() {
                Ok(1..) => Ok(()),
                _ if text.trim().is_empty() => Ok(()),
                _ => Err("a number of tokens, such as 128000"),
            })
            .interact_text()?;
        Ok(text.trim().parse().ok())
    }

    pub(super) fn confirm(&self, question: &str, default: bool) -> Asked<bool> {
        Confirm::with_theme(&*self.0).with_prompt(question).default(default).interact()
    }
}

/// Where a key is.
#[derive(Clone, Copy)]
enum Where {
    Usual(&'static str),
    Variable,
    File,
    Nowhere,
}
