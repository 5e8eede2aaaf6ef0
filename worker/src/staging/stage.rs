//! What each kind of source becomes.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use warifu_common::dataset::{ArraySplitter, CsvToJsonLines};
use warifu_common::model::protocol::{RunFault, SourcePin, StagedSource};
use warifu_common::model::{CsvEncoding, InputForm, SourceObjects};
use warifu_common::object_store::{ObjectLocation, ObjectStore, PinnedObject};

use super::encoding::ShiftJis;
use super::input::{Shop, Steps};
use super::output::Output;
use crate::fault;
use crate::handler::Handler;
use crate::run::OpenRun;
use crate::scanner::probe_object;
use crate::source::Sources;

/// What a text may begin with that is no part of it.
const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";

/// Rewrites a run's source, and reads the head of what it has become. `reader`: what gives the items, if a handler does.
pub(super) async fn stage(
    store: Arc<dyn ObjectStore>,
    run: Arc<OpenRun>,
    reader: Option<Arc<dyn Handler>>,
    cancel: CancellationToken,
    steps: Steps,
) -> Result<StagedSource, RunFault> {
    let shop = Shop {
        store: Arc::clone(&store),
        runtime: Handle::current(),
        cancel,
        steps,
        max_decompressed_bytes: run.context.max_staged_bytes,
        decompressed_bytes: Arc::default(),
    };
    let rewritten = {
        let run = Arc::clone(&run);
        tokio::task::spawn_blocking(move || Staging { shop, run: &run, reader }.rewrite()).await
    };
    let object = rewritten
        .unwrap_or_else(|_| Err(fault::unreadable_here("rewriting a source failed; report this as a bug")))?;
    // Nothing of it is kept: shards are read again when they are scanned.
    let probe = probe_object(&Sources::new(store, 0), &run, &object).await?;
    let source = SourcePin {
        bucket: object.location.bucket,
        key: object.location.key,
        version_id: object.version_id,
        etag: object.etag,
        size_bytes: object.size,
    };
    Ok(StagedSource { source, probe })
}

/// One attempt at one source.
pub(super) struct Staging<'a> {
    pub(super) shop: Shop,
    pub(super) run: &'a OpenRun,
    /// What gives the items, if a handler does and this worker has it.
    pub(super) reader: Option<Arc<dyn Handler>>,
}

impl Staging<'_> {
    fn rewrite(&self) -> Result<PinnedObject, RunFault> {
        let reader = &self.run.context.spec.item_reader;
        let (bucket, prefix) = &self.run.context.staging;
        let suffix = if reader.objects.is_one() && reader.form.is_csv() { "csv" } else { "jsonl" };
        let location =
            ObjectLocation::new(bucket, format!("{prefix}{:032x}.{suffix}", rand::random::<u128>()));
        let limit = self.run.context.max_staged_bytes;
        let mut output = Output::new(self.shop.clone(), location, self.run.facts.source.clone(), limit);
        if let Some(handler) = &reader.handler {
            self.pages(handler, &mut output)?;
            return output.finish();
        }
        match reader.objects {
            SourceObjects::One => self.rewrite_one(&mut output)?,
            SourceObjects::Listed => self.list(&mut output)?,
            SourceObjects::Flattened => self.flatten(&mut output)?,
            SourceObjects::Inventory => self.inventory(&mut output)?,
            SourceObjects::Named => self.named(&mut output)?,
        }
        output.finish()
    }

    /// One object: lines stay as they are, the elements of an array become lines.
    fn rewrite_one(&self, output: &mut Output) -> Result<(), RunFault> {
        let object = &self.run.object;
        match &self.run.context.spec.item_reader.form {
            InputForm::Csv | InputForm::JsonLines => self.read_text(object, |bytes| output.write(bytes)),
            InputForm::Json { items_pointer } => self.array(object, items_pointer, output),
        }
    }

    /// Gives `take` the text of an object, decompressed and in UTF-8.
    fn read_text(
        &self,
        object: &PinnedObject,
        mut take: impl FnMut(&[u8]) -> Result<(), RunFault>,
    ) -> Result<(), RunFault> {
        match self.run.context.spec.item_reader.encoding {
            CsvEncoding::Utf8 => self.shop.read_object(object, take),
            CsvEncoding::ShiftJis => {
                let mut decoder = ShiftJis::new();
                self.shop.read_object(object, |bytes| take(decoder.convert(bytes, false)))?;
                take(decoder.convert(&[], true))
            }
        }
    }

    /// What an object holds as JSON lines, each complete.
    pub(super) fn lines_of(&self, object: &PinnedObject, output: &mut Output) -> Result<(), RunFault> {
        match &self.run.context.spec.item_reader.form {
            InputForm::Csv => self.csv(object, self.converter(), output),
            InputForm::Json { items_pointer } => self.array(object, items_pointer, output),
            InputForm::JsonLines => self.lines(object, output),
        }
    }

    fn converter(&self) -> CsvToJsonLines {
        let reader = &self.run.context.spec.item_reader;
        CsvToJsonLines::new(reader.dialect(), reader.header_location.clone(), self.run.limits())
    }

    pub(super) fn csv(
        &self,
        object: &PinnedObject,
        mut converter: CsvToJsonLines,
        output: &mut Output,
    ) -> Result<(), RunFault> {
        let mut lines = Vec::new();
        let mut feed = |bytes: &[u8], at_end| {
            converter
                .feed(bytes, at_end, &mut lines)
                .map_err(|error| fault::not_convertible(&object.location, &error))?;
            output.write(&lines)?;
            lines.clear();
            Ok(())
        };
        self.read_text(object, |bytes| feed(bytes, false))?;
        feed(&[], true)
    }

    fn array(&self, object: &PinnedObject, pointer: &str, output: &mut Output) -> Result<(), RunFault> {
        let mut splitter = ArraySplitter::new(pointer);
        let (mut text, mut lines) = (WithoutBom::default(), Vec::new());
        let fault = |error| fault::unreadable_here(format!("{}: {error}", object.location));
        let mut feed = |bytes: &[u8]| {
            splitter.feed(bytes, &mut lines).map_err(fault)?;
            output.write(&lines)?;
            lines.clear();
            Ok(())
        };
        self.shop.read_object(object, |bytes| text.strip(bytes).into_iter().try_for_each(&mut feed))?;
        feed(text.rest())?;
        splitter.finish().map_err(fault)
    }

    fn lines(&self, object: &PinnedObject, output: &mut Output) -> Result<(), RunFault> {
        let (mut text, mut last) = (WithoutBom::default(), b'\n');
        self.shop.read_object(object, |bytes| {
            last = *bytes.last().unwrap_or(&last);
            text.strip(bytes).into_iter().try_for_each(|bytes| output.write(bytes))
        })?;
        output.write(text.rest())?;
        if last == b'\n' { Ok(()) } else { output.write(b"\n") }
    }
}

/// Takes a byte order mark off a text that comes in pieces.
#[derive(Default)]
struct WithoutBom {
    /// How many bytes of the mark the text began with, which are held back until it is whole.
    matched: usize,
    decided: bool,
}

impl WithoutBom {
    /// What the next piece adds to the text, in two parts.
    fn strip<'a>(&mut self, bytes: &'a [u8]) -> [&'a [u8]; 2] {
        if self.decided {
            return [&[], bytes];
        }
        let held = self.matched;
        let more = UTF8_BOM[held..].iter().zip(bytes).take_while(|(mark, byte)| mark == byte).count();
        self.matched += more;
        if self.matched == UTF8_BOM.len() {
            self.decided = true;
            return [&[], &bytes[more..]];
        }
        if more == bytes.len() {
            return [&[], &[]];
        }
        self.decided = true;
        [&UTF8_BOM[..held], bytes]
    }

    /// What was held back of a text that ended within the mark.
    fn rest(&self) -> &'static [u8] {
        if self.decided { &[] } else { &UTF8_BOM[..self.matched] }
    }
}
