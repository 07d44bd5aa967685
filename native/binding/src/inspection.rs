//! The result of an inspection for JavaScript.

use cc_lb_engine::inspect::{Export, Import, MemoryLimits, ModuleEncoding, ModuleFacts, ParseError, Section};
use napi_derive::napi;

use crate::bytes::Bytes;

/// An import.
#[napi(object, object_from_js = false)]
pub struct NativeImport {
    /// The module that it is imported from.
    pub module: String,
    /// Its name in that module.
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
    /// The offset of its contents in the file.
    pub offset: u32,
    /// Its length in bytes.
    pub size: u32,
    /// The bytes, unless there are more than 1 MiB.
    #[napi(ts_type = "Buffer")]
    pub data: Option<Bytes>,
}

impl From<Section> for NativeSection {
    fn from(section: Section) -> Self {
        let Section { name, offset, size, data } = section;
        NativeSection { name, offset, size, data: data.map(Bytes) }
    }
}

/// A memory's limits, in pages of 64 KiB.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct NativeMemoryLimits {
    /// Initial pages.
    pub initial_pages: f64,
    /// Maximum pages that the module declares.
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

/// A position at which the parser failed, and its error.
#[napi(object, object_from_js = false)]
pub struct NativeParseError {
    /// The parser's message.
    pub message: String,
    /// The offset of the error.
    pub offset: f64,
}

impl From<ParseError> for NativeParseError {
    fn from(error: ParseError) -> Self {
        NativeParseError { message: error.message, offset: error.offset as f64 }
    }
}

/// The facts of a module, in file order.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct NativeModuleFacts {
    /// `module`, `component`, or null if the bytes are neither.
    pub encoding: Option<String>,
    /// Number of bytes.
    pub size: u32,
    /// The first imports.
    pub imports: Vec<NativeImport>,
    /// Their total number.
    pub import_count: u32,
    /// The offset of the import section; null without one.
    pub imports_offset: Option<u32>,
    /// The exports of the contract.
    pub exports: Vec<NativeExport>,
    /// Total number of exports.
    pub export_count: u32,
    /// The custom sections of the contract.
    pub sections: Vec<NativeSection>,
    /// Number of contract sections that are not listed.
    pub sections_unlisted: u32,
    /// The first memories that the module defines.
    pub memories: Vec<NativeMemoryLimits>,
    /// Their total number.
    pub memory_count: u32,
    /// Number of declared types.
    pub types: u32,
    /// Number of defined functions.
    pub functions: u32,
    /// Bytes of code.
    pub code_bytes: u32,
    /// Whether it has a start function.
    pub start: bool,
    /// The error that ended parsing.
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
            start: facts.needs.start,
            parse_error: facts.parse_error.map(Into::into),
        }
    }
}

fn convert<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(B::from).collect()
}
