//! The `;name=value` parameters of URIs, addresses and Vias, in the order they came.

use std::borrow::Cow;
use std::fmt;

use crate::text;

/// The most parameters that are kept; a list has three or four.
pub const MAX_PARAMS: usize = 128;

/// A list of parameters. Names compare without regard to case; values are kept as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<Param>);

/// One parameter: `name` or `name=value`, a quoted value with its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Param {
    name: String,
    value: Option<String>,
}

impl Params {
    /// Reads `;a;b=1;c="x;y"`, with or without the first semicolon. Empty ones are left out, and so
    /// are those past [`MAX_PARAMS`].
    pub fn parse(text: &str) -> Self {
        let owned = |(name, value): (&str, Option<&str>)| Param {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        Self(each(text).map(owned).collect())
    }

    /// The value of one parameter, as `parse(text).get(name)` has it, without reading the others.
    pub(crate) fn value_in<'a>(text: &'a str, name: &str) -> Option<&'a str> {
        each(text).find(|(other, _)| other.eq_ignore_ascii_case(name))?.1
    }

    /// Whether a parameter of this name is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The value as written; `None` if there is none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name)?.value.as_deref()
    }

    /// The value without its quotes.
    pub fn unquoted(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(text::unquote)
    }

    /// Replaces the parameter's value, or appends it, in place of the last one of a full list.
    /// `None` writes the bare name.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self.0.iter_mut().find(|param| param.name.eq_ignore_ascii_case(name)) {
            Some(param) => param.value = value,
            None => {
                self.0.truncate(MAX_PARAMS - 1);
                self.0.push(Param { name: name.to_owned(), value });
            }
        }
    }

    /// Takes every parameter of this name out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|param| !param.name.eq_ignore_ascii_case(name));
    }

    /// Names and values in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|param| (param.name.as_str(), param.value.as_deref()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, name: &str) -> Option<&Param> {
        self.0.iter().find(|param| param.name.eq_ignore_ascii_case(name))
    }
}

/// Names and values as they stand in the text.
fn each(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = text.trim();
    let parts = std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = text::find_outside_quotes(rest, b';').unwrap_or(rest.len());
            let part = rest[..end].trim();
            rest = rest.get(end + 1..).unwrap_or("");
            if !part.is_empty() {
                return Some(part);
            }
        }
        None
    });
    let parts = parts.map(|part| match part.split_once('=') {
        Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
        None => (part, None),
    });
    parts.take(MAX_PARAMS)
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Param { name, value } in &self.0 {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_keep_order_case_and_quotes() {
        let params = Params::parse(r#"; Branch = z9 ;lr;;x="a;\"b=";tag="#);
        assert_eq!(params.to_string(), r#";Branch=z9;lr;x="a;\"b=";tag="#);
        assert_eq!(params.get("branch"), Some("z9"));
        assert!(params.has("LR") && params.get("lr").is_none());
        assert_eq!(params.unquoted("x").as_deref(), Some(r#"a;"b="#));
    }

    #[test]
    fn only_so_many_are_kept() {
        let many = (0..1000).map(|number| format!(";a{number}")).collect::<String>();
        assert_eq!(Params::parse(&many).iter().count(), MAX_PARAMS);
    }
}
