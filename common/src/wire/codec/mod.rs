//! The one codec between messages and text: job files in, `-o json|yaml` out.
//!
//! It knows the API through its compiled descriptors and nothing of what a specification means: `wire::spec` checks that.
//! Reading is strict and names everything that is wrong at once; writing is what reading takes.
//!
//! Start reading at [`parse_job_file`], then `tree.rs` (text to tree) and `decode.rs` (tree to message).

mod call;
mod decode;
mod encode;
mod free_form;
mod job_file;
mod overrides;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
mod tree;
mod well_known;

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value as Json;

pub use call::{Method, failure_to_json};
pub use free_form::{
    MAX_SAFE_INTEGER, UNSAFE_INTEGER, object_from_json, object_to_json, value_from_json, value_to_json,
};
pub use job_file::parse_job_file;
pub use overrides::Override;
pub use tree::{MAX_DEPTH, MAX_TEXT_BYTES};

static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(super::FILE_DESCRIPTOR_SET).expect("the build compiled these descriptors")
});

fn descriptor(full_name: &str) -> MessageDescriptor {
    DESCRIPTORS.get_message_by_name(full_name).expect("every message of the API is compiled in")
}

/// A message of the API as JSON: short enum names, counts as numbers, fields in the order of the proto files.
pub fn to_json<M: Message + Name>(message: &M) -> Json {
    let mut dynamic = DynamicMessage::new(descriptor(&M::full_name()));
    match dynamic.transcode_from(message) {
        Ok(()) => encode::message(&dynamic),
        Err(_) => Json::Null,
    }
}

/// A message of the API as YAML 1.2, the same values as [`to_json`]. Ends with a line break.
pub fn to_yaml<M: Message + Name>(message: &M) -> String {
    json_to_yaml(&to_json(message))
}

/// JSON as YAML 1.2. Strings that a YAML reader could take for something else are quoted.
pub fn json_to_yaml(value: &Json) -> String {
    serde_saphyr::to_string(value).expect("JSON values have a YAML form")
}
