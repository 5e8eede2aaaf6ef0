//! Job files: what `submit -f` takes.

use prost_reflect::{DynamicMessage, MessageDescriptor};

use super::decode::Decoder;
use super::overrides::{self, Override};
use super::tree::{self, Content, Entry, Node};
use crate::wire::{InvalidRequest, v1};

/// What may stand at the top of a job file.
enum Form {
    Spec,
    MapRun,
    Request,
}

/// Reads a job file: the YAML or JSON of a `MapRunSpec`, a `MapRun` (its `spec` counts) or a `CreateMapRunRequest`.
///
/// `changes` are applied to the specification first. Every wrong field is named, with its path and line.
pub fn parse_job_file(text: &str, changes: &[Override]) -> Result<v1::CreateMapRunRequest, InvalidRequest> {
    let mut root = tree::parse(text)?;
    let form = form_of(&root);
    let spec_type = super::descriptor("warifu.v1.MapRunSpec");
    if let Some(spec) = spec_of(&mut root, &form) {
        take_aliases(spec);
        for change in changes {
            overrides::apply(spec, &spec_type, change)?;
        }
    }
    match form {
        Form::Spec => {
            Ok(request(v1::MapRun { spec: Some(decode(&root, &spec_type, "spec")?), ..Default::default() }))
        }
        Form::MapRun => {
            let map_run: v1::MapRun = decode(&root, &super::descriptor("warifu.v1.MapRun"), "")?;
            Ok(request(v1::MapRun { spec: map_run.spec, ..Default::default() }))
        }
        Form::Request => {
            let mut request: v1::CreateMapRunRequest =
                decode(&root, &super::descriptor("warifu.v1.CreateMapRunRequest"), "")?;
            let spec = request.map_run.take().and_then(|map_run| map_run.spec);
            request.map_run = Some(v1::MapRun { spec, ..Default::default() });
            Ok(request)
        }
    }
}

fn request(map_run: v1::MapRun) -> v1::CreateMapRunRequest {
    v1::CreateMapRunRequest { map_run: Some(map_run), ..Default::default() }
}

fn decode<M>(node: &Node, message: &MessageDescriptor, path: &str) -> Result<M, InvalidRequest>
where
    M: prost::Message + Default,
{
    let mut decoder = Decoder::default();
    let decoded: DynamicMessage = decoder.message(message, node, path);
    let decoded = decoder.violations.into_result(decoded)?;
    decoded.transcode_to().map_err(|error| InvalidRequest::one(path, error.to_string()))
}

fn form_of(root: &Node) -> Form {
    let has = |names: [&str; 2]| {
        root.entries().is_some_and(|entries| entries.iter().any(|entry| names.contains(&entry.key.as_str())))
    };
    if has(["mapRun", "map_run"]) {
        Form::Request
    } else if has(["spec", "spec"]) {
        Form::MapRun
    } else {
        Form::Spec
    }
}

/// The node of the specification. Missing parts on the way are left to the decoder.
fn spec_of<'a>(root: &'a mut Node, form: &Form) -> Option<&'a mut Node> {
    match form {
        Form::Spec => Some(root),
        Form::MapRun => child(root, &["spec"]),
        Form::Request => child(child(root, &["mapRun", "map_run"])?, &["spec"]),
    }
}

fn child<'a>(node: &'a mut Node, names: &[&str]) -> Option<&'a mut Node> {
    let Content::Mapping(entries) = &mut node.content else { return None };
    entries.iter_mut().find(|entry| names.contains(&entry.key.as_str())).map(|entry| &mut entry.value)
}

/// `maxBatchSize`, beside or in `itemBatcher`, means `itemBatcher.maxItemsPerBatch`.
fn take_aliases(spec: &mut Node) {
    const ALIAS: [&str; 2] = ["maxBatchSize", "max_batch_size"];
    let Content::Mapping(entries) = &mut spec.content else { return };
    let beside = entries.iter().position(|entry| ALIAS.contains(&entry.key.as_str()));
    let moved = beside.map(|index| entries.remove(index));
    if moved.is_some() && child(spec, &["itemBatcher", "item_batcher"]).is_none() {
        let Content::Mapping(entries) = &mut spec.content else { return };
        entries.push(Entry { key: "itemBatcher".to_owned(), line: 0, value: Node::empty_mapping() });
    }
    let Some(batcher) = child(spec, &["itemBatcher", "item_batcher"]) else { return };
    if batcher.is_null() {
        *batcher = Node { content: Content::Mapping(Vec::new()), line: batcher.line };
    }
    let Content::Mapping(entries) = &mut batcher.content else { return };
    entries.extend(moved);
    for entry in entries.iter_mut().filter(|entry| ALIAS.contains(&entry.key.as_str())) {
        entry.key = "maxItemsPerBatch".to_owned();
    }
}
