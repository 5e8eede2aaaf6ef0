//! Where settings come from: a file, the environment, flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ConfigError, ConfigProblem};

/// Largest configuration file.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Between section and key in a variable's name.
const SEPARATOR: &str = "__";

/// One key set by a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The flag, for messages: `--listen`.
    pub flag: String,
    /// The key that it sets: `server.listen`.
    pub key: String,
    /// The value as typed.
    pub value: String,
}

/// All that a configuration is made from.
#[derive(Debug, Clone, Default)]
pub struct Source {
    pub(super) file: Option<PathBuf>,
    pub(super) table: toml::Table,
    /// Variables of the environment, all of them: strings may name any.
    pub(super) environment: BTreeMap<String, String>,
    pub(super) flags: Vec<Setting>,
}

impl Source {
    /// The file, if one is named, and the environment of this process.
    pub(super) fn of_process(file: Option<&Path>, flags: Vec<Setting>) -> Result<Self, ConfigError> {
        let text = file.map(read_file).transpose()?;
        // Variables that are not Unicode can be none of ours, and are no text for `${VAR}`.
        let environment =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::new(file, text.as_deref().unwrap_or(""), environment.collect(), flags)
    }

    /// A file's text, variables and flags. Fails if the text is no TOML.
    pub fn new(
        file: Option<&Path>,
        text: &str,
        environment: BTreeMap<String, String>,
        flags: Vec<Setting>,
    ) -> Result<Self, ConfigError> {
        let table = text.parse::<toml::Table>().map_err(|error| whole(file, error.to_string()))?;
        Ok(Self { file: file.map(Path::to_owned), table, environment, flags })
    }

    /// What the flags or the environment say of a key, and who says it.
    pub(super) fn overriding(&self, key: &str) -> Option<(String, String)> {
        let by_flag = self.flags.iter().rev().find(|setting| setting.key == key);
        if let Some(setting) = by_flag {
            return Some((setting.flag.clone(), setting.value.clone()));
        }
        let variable = variable_of(key);
        self.environment.get(&variable).map(|value| (variable, value.clone()))
    }

    /// Variables that are meant for a key: section and key in lower case.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, String)> {
        self.environment.keys().filter_map(|name| {
            let (section, key) = name.strip_prefix("WARIFU_")?.split_once(SEPARATOR)?;
            Some((name.as_str(), format!("{section}.{key}").to_ascii_lowercase()))
        })
    }
}

fn variable_of(key: &str) -> String {
    format!("WARIFU_{}", key.replacen('.', SEPARATOR, 1).to_ascii_uppercase())
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let size =
        std::fs::metadata(path).map_err(|error| whole(Some(path), format!("cannot be read: {error}")))?.len();
    if size > MAX_FILE_BYTES {
        return Err(whole(Some(path), format!("takes {size} bytes; at most {MAX_FILE_BYTES} are read")));
    }
    std::fs::read_to_string(path).map_err(|error| whole(Some(path), format!("cannot be read: {error}")))
}

fn whole(file: Option<&Path>, description: String) -> ConfigError {
    let problem = ConfigProblem { key: String::new(), description: description.trim_end().to_owned() };
    ConfigError { file: file.map(Path::to_owned), problems: vec![problem] }
}
