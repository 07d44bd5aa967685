//! Reads the facts of a module from its bytes in one pass, without compiling or running it. TypeScript decides which
//! facts are allowed.

use std::collections::HashMap;

use wasmparser::{
    BinaryReaderError, CompositeInnerType, CustomSectionReader, Encoding, ExportSectionReader, ExternalKind,
    FunctionSectionReader, ImportSectionReader, MemorySectionReader, Parser, Payload, TypeRef, TypeSectionReader,
};

/// The prefix of the sections and exports of the plugin contract.
const PREFIX: &str = "cc_lb";
/// Maximum number of listed entries of each kind; further entries are counted. Valid plugins have a few of each kind,
/// so this is not a setting.
const MAX_LISTED: usize = 1_000;
/// Maximum size of a listed section whose bytes are copied.
const MAX_SECTION_BYTES: usize = 1 << 20;

/// An import.
#[derive(Clone, Debug)]
pub struct Import {
    /// The module it comes from.
    pub module: String,
    /// Its name in that module.
    pub name: String,
    /// `func`, `table`, `memory`, `global` or `tag`.
    pub kind: &'static str,
}

/// An export of the contract: `memory` or a name that begins with `cc_lb`.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// `func`, `table`, `memory`, `global` or `tag`.
    pub kind: &'static str,
    /// A function's type, such as `(i32, i32) -> i64`.
    pub signature: Option<String>,
}

/// A custom section whose name starts with `cc_lb`.
pub struct Section {
    /// Its name.
    pub name: String,
    /// Offset of its contents in the file.
    pub offset: u32,
    /// Its size in bytes.
    pub size: u32,
    /// Its bytes, unless it is larger than 1 MiB.
    pub data: Option<Vec<u8>>,
}

/// A memory's limits, in pages of 64 KiB.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimits {
    /// Pages at the start.
    pub initial_pages: u64,
    /// The declared maximum.
    pub maximum_pages: Option<u64>,
}

/// Position and reason of a failed parse.
#[derive(Clone, Debug)]
pub struct ParseError {
    /// The message of the parser.
    pub message: String,
    /// Offset in the file.
    pub offset: usize,
}

/// The two binary formats.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ModuleEncoding {
    /// A core module.
    Module,
    /// A component, whose contents are not read.
    Component,
}

/// The facts of a module, in file order.
pub struct ModuleFacts {
    /// The format of the bytes; none if they are neither.
    pub encoding: Option<ModuleEncoding>,
    /// The number of bytes.
    pub size: u32,
    /// The first imports.
    pub imports: Vec<Import>,
    /// Their total number.
    pub import_count: u32,
    /// Offset of the import section, if there is one.
    pub imports_offset: Option<u32>,
    /// The exports of the contract.
    pub exports: Vec<Export>,
    /// The total number of exports.
    pub export_count: u32,
    /// The custom sections of the contract.
    pub sections: Vec<Section>,
    /// The number of sections of the contract that are not listed.
    pub sections_unlisted: u32,
    /// The first memories that the module defines.
    pub memories: Vec<MemoryLimits>,
    /// Their total number.
    pub memory_count: u32,
    /// The number of declared types.
    pub types: u32,
    /// The number of defined functions.
    pub functions: u32,
    /// The size of the code in bytes.
    pub code_bytes: u32,
    /// What its instances need.
    pub needs: InstanceNeeds,
    /// The error of a failed parse.
    pub parse_error: Option<ParseError>,
}

/// What the instances of a module need.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct InstanceNeeds {
    /// Whether instantiation runs guest code, the start function.
    pub start: bool,
    /// Bytes of initial data. Each segment counts as a page in addition, because a small one may occupy a page of its
    /// own.
    pub data_bytes: usize,
    /// Maximum bytes that the host allocates for the globals, the element segments, and the references to functions of an
    /// instance.
    pub host_bytes: usize,
}

/// Bytes of a global, and of an element of a segment, in an instance.
const ENTRY_BYTES: usize = 16;
/// Bytes of a reference to a function. Functions that are exported, or that a global or a segment refers to, have one.
const REFERENCE_BYTES: usize = 32;
/// Maximum bytes of a listed name or signature. A longer one is cut.
const MAX_NAME_BYTES: usize = 256;

/// Returns a copy of a name, cut to its maximum length.
fn listed(name: &str) -> String {
    let end = name.floor_char_boundary(MAX_NAME_BYTES);
    let mark = if end < name.len() { "…" } else { "" };
    format!("{}{mark}", &name[..end])
}

fn external_kind(kind: ExternalKind) -> &'static str {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => "func",
        ExternalKind::Table => "table",
        ExternalKind::Memory => "memory",
        ExternalKind::Global => "global",
        ExternalKind::Tag => "tag",
    }
}

fn type_kind(reference: TypeRef) -> &'static str {
    match reference {
        TypeRef::Func(_) | TypeRef::FuncExact(_) => "func",
        TypeRef::Table(_) => "table",
        TypeRef::Memory(_) => "memory",
        TypeRef::Global(_) => "global",
        TypeRef::Tag(_) => "tag",
    }
}

/// Reads the facts of `wasm` without running or compiling anything. Stops with an error at a module with more than
/// `max_entries` types or functions, because an entry of a few bytes in the file takes many more in memory.
pub fn inspect(wasm: &[u8], max_entries: usize) -> ModuleFacts {
    let mut facts = ModuleFacts {
        encoding: None,
        size: u32::try_from(wasm.len()).unwrap_or(u32::MAX),
        imports: Vec::new(),
        import_count: 0,
        imports_offset: None,
        exports: Vec::new(),
        export_count: 0,
        sections: Vec::new(),
        sections_unlisted: 0,
        memories: Vec::new(),
        memory_count: 0,
        types: 0,
        functions: 0,
        code_bytes: 0,
        needs: InstanceNeeds::default(),
        parse_error: None,
    };
    let mut signatures = Signatures { max_entries, ..Signatures::default() };
    facts.parse_error = walk(wasm, &mut facts, &mut signatures).err();
    facts.types = u32::try_from(signatures.types).unwrap_or(u32::MAX);
    signatures.describe(&mut facts.exports);
    facts
}

impl From<BinaryReaderError> for ParseError {
    fn from(error: BinaryReaderError) -> Self {
        ParseError { message: error.message().to_string(), offset: error.offset() }
    }
}

/// Collects the types of the listed exports. Sections are read again instead of copied, because their entries take
/// more bytes in memory than in the file.
#[derive(Default)]
struct Signatures<'a> {
    max_entries: usize,
    types: usize,
    type_sections: Vec<TypeSectionReader<'a>>,
    functions: usize,
    /// The sections that declare functions, in the order of the indices.
    function_sections: Vec<FunctionSection<'a>>,
    /// By index of a function, the positions of the listed exports that are this function.
    exports: HashMap<u32, Vec<usize>>,
}

/// A section that declares functions.
enum FunctionSection<'a> {
    Imported(ImportSectionReader<'a>),
    Defined(FunctionSectionReader<'a>),
}

impl FunctionSection<'_> {
    /// Calls `visit` with the type of each function, up to the first error.
    fn each(self, visit: impl FnMut(u32)) {
        match self {
            Self::Imported(section) => section
                .into_imports()
                .map_while(Result::ok)
                .filter_map(|import| function_type(import.ty))
                .for_each(visit),
            Self::Defined(section) => section.into_iter().map_while(Result::ok).for_each(visit),
        }
    }
}

/// The type index of an imported function.
fn function_type(reference: TypeRef) -> Option<u32> {
    match reference {
        TypeRef::Func(index) | TypeRef::FuncExact(index) => Some(index),
        _ => None,
    }
}

impl<'a> Signatures<'a> {
    fn add_types(&mut self, section: TypeSectionReader<'a>) -> Result<(), ParseError> {
        for group in section.clone().into_iter_with_offsets() {
            let (offset, group) = group?;
            self.types += group.types().len();
            self.check_count(self.types, "types", offset)?;
        }
        self.type_sections.push(section);
        Ok(())
    }

    fn add_function(&mut self, offset: usize) -> Result<(), ParseError> {
        self.functions += 1;
        self.check_count(self.functions, "functions", offset)
    }

    fn check_count(&self, count: usize, what: &str, offset: usize) -> Result<(), ParseError> {
        if count <= self.max_entries {
            return Ok(());
        }
        let message = format!("more than {} {what}", self.max_entries);
        Err(ParseError { message, offset })
    }

    /// Records that the export at this position of the list is the function with this index.
    fn add_export(&mut self, function: u32, export: usize) {
        self.exports.entry(function).or_default().push(export);
    }

    /// Sets the signatures of the listed exports.
    fn describe(mut self, exports: &mut [Export]) {
        let mut by_type: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut functions = 0..;
        for section in self.function_sections {
            section.each(|type_index| {
                let listed = functions.next().and_then(|function| self.exports.remove(&function));
                if let Some(listed) = listed {
                    by_type.entry(type_index).or_default().extend(listed);
                }
            });
        }
        let groups = self.type_sections.into_iter().flatten().map_while(Result::ok);
        for (index, ty) in (0..).zip(groups.flat_map(wasmparser::RecGroup::into_types)) {
            for export in by_type.remove(&index).into_iter().flatten() {
                exports[export].signature = signature_of(&ty.composite_type.inner);
            }
        }
    }
}

fn walk<'a>(wasm: &'a [u8], facts: &mut ModuleFacts, signatures: &mut Signatures<'a>) -> Result<(), ParseError> {
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding, .. } => {
                let component = encoding == Encoding::Component;
                let encoding = if component { ModuleEncoding::Component } else { ModuleEncoding::Module };
                facts.encoding.get_or_insert(encoding);
                if component {
                    return Ok(());
                }
            }
            Payload::TypeSection(section) => signatures.add_types(section)?,
            Payload::ImportSection(section) => read_imports(section, facts, signatures)?,
            Payload::FunctionSection(section) => read_functions(section, facts, signatures)?,
            Payload::MemorySection(section) => read_memories(section, facts)?,
            Payload::ExportSection(section) => read_exports(section, facts, signatures)?,
            Payload::StartSection { .. } => facts.needs.start = true,
            Payload::GlobalSection(section) => {
                facts.needs.host_bytes += section.count() as usize * (ENTRY_BYTES + REFERENCE_BYTES);
            }
            // An element takes at least a byte of its section.
            Payload::ElementSection(section) => {
                facts.needs.host_bytes += section.range().len() * (ENTRY_BYTES + REFERENCE_BYTES);
            }
            Payload::DataSection(section) => {
                facts.needs.data_bytes += section.range().len() + section.count() as usize * 4096;
            }
            Payload::CodeSectionStart { size, .. } => facts.code_bytes = size,
            Payload::CustomSection(section) if section.name().starts_with(PREFIX) => list_section(&section, facts),
            _ => {}
        }
    }
    Ok(())
}

fn read_imports<'a>(
    section: ImportSectionReader<'a>,
    facts: &mut ModuleFacts,
    signatures: &mut Signatures<'a>,
) -> Result<(), ParseError> {
    facts.imports_offset.get_or_insert(u32::try_from(section.range().start).unwrap_or(u32::MAX));
    signatures.function_sections.push(FunctionSection::Imported(section.clone()));
    for import in section.into_imports_with_offsets() {
        let (offset, import) = import?;
        facts.import_count += 1;
        if function_type(import.ty).is_some() {
            signatures.add_function(offset)?;
        }
        if facts.imports.len() < MAX_LISTED {
            let (module, name) = (listed(import.module), listed(import.name));
            facts.imports.push(Import { module, name, kind: type_kind(import.ty) });
        }
    }
    Ok(())
}

fn read_functions<'a>(
    section: FunctionSectionReader<'a>,
    facts: &mut ModuleFacts,
    signatures: &mut Signatures<'a>,
) -> Result<(), ParseError> {
    signatures.function_sections.push(FunctionSection::Defined(section.clone()));
    for function in section.into_iter_with_offsets() {
        let (offset, _) = function?;
        facts.functions += 1;
        signatures.add_function(offset)?;
    }
    Ok(())
}

fn read_memories(section: MemorySectionReader<'_>, facts: &mut ModuleFacts) -> Result<(), ParseError> {
    for memory in section {
        let memory = memory?;
        facts.memory_count += 1;
        if facts.memories.len() < MAX_LISTED {
            facts.memories.push(MemoryLimits { initial_pages: memory.initial, maximum_pages: memory.maximum });
        }
    }
    Ok(())
}

fn read_exports(
    section: ExportSectionReader<'_>,
    facts: &mut ModuleFacts,
    signatures: &mut Signatures<'_>,
) -> Result<(), ParseError> {
    facts.needs.host_bytes += section.count() as usize * REFERENCE_BYTES;
    for export in section {
        let export = export?;
        facts.export_count += 1;
        let of_contract = export.name == "memory" || export.name.starts_with(PREFIX);
        if of_contract && facts.exports.len() < MAX_LISTED {
            if export.kind == ExternalKind::Func {
                signatures.add_export(export.index, facts.exports.len());
            }
            let (name, kind) = (listed(export.name), external_kind(export.kind));
            facts.exports.push(Export { name, kind, signature: None });
        }
    }
    Ok(())
}

fn list_section(section: &CustomSectionReader<'_>, facts: &mut ModuleFacts) {
    if facts.sections.len() == MAX_LISTED {
        facts.sections_unlisted += 1;
        return;
    }
    let data = section.data();
    facts.sections.push(Section {
        name: listed(section.name()),
        offset: u32::try_from(section.data_offset()).unwrap_or(u32::MAX),
        size: u32::try_from(data.len()).unwrap_or(u32::MAX),
        data: (data.len() <= MAX_SECTION_BYTES).then(|| data.to_vec()),
    });
}

fn signature_of(inner: &CompositeInnerType) -> Option<String> {
    let CompositeInnerType::Func(function) = inner else { return None };
    let list = |values: &[wasmparser::ValType]| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (params, results) = (list(function.params()), list(function.results()));
    let signature = match function.results().len() {
        0 => format!("({params})"),
        1 => format!("({params}) -> {results}"),
        _ => format!("({params}) -> ({results})"),
    };
    Some(listed(&signature))
}
