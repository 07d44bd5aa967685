//! What inspection found in a module, as data.

use cc_lb_engine::inspect::{Export, Import, MemoryLimits, ModuleEncoding, ModuleFacts, ParseError, Section};
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

/// An import.
#[napi(object, object_from_js = false)]
pub struct NativeImport {
    /// The module it comes from.
    pub module: String,
    /// Its name there.
    pub name: String,
    /// `func`, `table`, `memory`, `global` or `tag`.
    pub kind: String,
}

impl From<Import> for NativeImport {
    fn from(import: Import) -> Self {
        NativeImport { module: import.module, name: import.name, kind: import.kind.to_owned() }
    }
}

/// An export of the contract: `memory` or a name that begins with `cc_lb`.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct NativeExport {
    /// Its name.
    pub name: String,
    /// `func`, `table`, `memory`, `global` or `tag`.
    pub kind: String,
    /// A function's type, such as `(i32, i32) -> i64`.
    pub signature: Option<String>,
}

impl From<Export> for NativeExport {
    fn from(export: Export) -> Self {
        NativeExport { name: export.name, kind: export.kind.to_owned(), signature: export.signature }
    }
}

/// A custom section whose name begins with `cc_lb`.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct NativeSection {
    /// Its name.
    pub name: String,
    /// Where its contents begin in the file.
    pub offset: u32,
    /// How many bytes it has.
    pub size: u32,
    /// The bytes, unless there are more than 1 MiB.
    pub data: Option<Buffer>,
}

impl From<Section> for NativeSection {
    fn from(section: Section) -> Self {
        let Section { name, offset, size, data } = section;
        NativeSection { name, offset, size, data: data.map(Buffer::from) }
    }
}

/// A memory's limits, in pages of 64 KiB.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct NativeMemoryLimits {
    /// Pages at the start.
    pub initial_pages: f64,
    /// The module's own cap.
    pub maximum_pages: Option<f64>,
}

impl From<MemoryLimits> for NativeMemoryLimits {
    fn from(limits: MemoryLimits) -> Self {
        NativeMemoryLimits {
            initial_pages: limits.initial_pages as f64,
            maximum_pages: limits.maximum_pages.map(|pages| pages as f64),
        }
    }
}

/// Where and why reading stopped.
#[napi(object, object_from_js = false)]
pub struct NativeParseError {
    /// The parser's sentence.
    pub message: String,
    /// The byte it happened at.
    pub offset: f64,
}

impl From<ParseError> for NativeParseError {
    fn from(error: ParseError) -> Self {
        NativeParseError { message: error.message, offset: error.offset as f64 }
    }
}

/// Everything that inspection found, in file order.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct NativeModuleFacts {
    /// `module`, `component`, or null where the bytes are neither.
    pub encoding: Option<String>,
    /// How many bytes were given.
    pub size: u32,
    /// The first imports.
    pub imports: Vec<NativeImport>,
    /// How many there are.
    pub import_count: u32,
    /// Where the import section begins, if there is one.
    pub imports_offset: Option<u32>,
    /// The exports of the contract.
    pub exports: Vec<NativeExport>,
    /// How many exports there are in all.
    pub export_count: u32,
    /// The custom sections of the contract.
    pub sections: Vec<NativeSection>,
    /// Sections of the contract beyond those listed.
    pub sections_unlisted: u32,
    /// The first memories that the module defines.
    pub memories: Vec<NativeMemoryLimits>,
    /// How many there are.
    pub memory_count: u32,
    /// How many types it declares.
    pub types: u32,
    /// How many functions it defines.
    pub functions: u32,
    /// Bytes of code.
    pub code_bytes: u32,
    /// Whether it has a start function.
    pub start: bool,
    /// What stopped the reading.
    pub parse_error: Option<NativeParseError>,
}

impl From<ModuleFacts> for NativeModuleFacts {
    fn from(facts: ModuleFacts) -> Self {
        let encoding = facts.encoding.map(|encoding| match encoding {
            ModuleEncoding::Module => "module".to_owned(),
            ModuleEncoding::Component => "component".to_owned(),
        });
        NativeModuleFacts {
            encoding,
            size: facts.size,
            imports: convert(facts.imports),
            import_count: facts.import_count,
            imports_offset: facts.imports_offset,
            exports: convert(facts.exports),
            export_count: facts.export_count,
            sections: convert(facts.sections),
            sections_unlisted: facts.sections_unlisted,
            memories: convert(facts.memories),
            memory_count: facts.memory_count,
            types: facts.types,
            functions: facts.functions,
            code_bytes: facts.code_bytes,
            start: facts.start,
            parse_error: facts.parse_error.map(Into::into),
        }
    }
}

fn convert<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(B::from).collect()
}
