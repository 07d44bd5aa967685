/** The command of a compile process: a Node that loads this addon and calls `runCompileProcess`. */

import { basename, isAbsolute } from 'node:path';
import type { HotEngineConfig } from '../config.ts';
import { CompileProcessError } from '../errors.ts';
import { addonPath, type NativeCommand } from '../native/addon.ts';

/** The program of a compile process. It is an argument, because a bundled application has no separate file for it. */
const PROGRAM = 'const m={exports:{}};process.dlopen(m,process.argv[1]);m.exports.runCompileProcess()';
/**
 * Set in every compile process. A process with it starts no other one, so an application mistaken for Node cannot
 * recurse.
 */
const MARK = 'CC_LB_RUNTIME_WASMTIME_COMPILE_PROCESS';
/** Environment variables that loading Node may need: its library paths, and the directory of Windows. */
const INHERITED = ['LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'DYLD_FALLBACK_LIBRARY_PATH', 'SystemRoot'];
/** The file names under which Node is installed. */
const NODE_NAME = /^node(js)?[-.\d]*(\.exe)?$/i;

/**
 * Returns the command of a compile process. Throws a CompileProcessError that names the setting if this process may not
 * start one, or if it is not known to be Node and `compileExecutable` is not set.
 */
export function compileCommand(config: HotEngineConfig): NativeCommand {
  if (process.env[MARK] !== undefined) {
    throw new CompileProcessError(`a compile process starts none itself: ${compileExecutableRemedy}`);
  }
  if (process.permission?.has('child') === false) {
    throw new CompileProcessError(
      "with --permission, a compile process needs --allow-child-process, or compileIn: 'thread' for trusted modules",
    );
  }
  const program = config.compileExecutable ?? nodeOfThisProcess();
  if (program === undefined) {
    throw new CompileProcessError(`${process.execPath} is not known to be Node: ${compileExecutableRemedy}`);
  }
  if (!denoAllows(program)) {
    throw new CompileProcessError(
      "a compile process needs Deno's --allow-run, or compileIn: 'thread' for trusted modules",
    );
  }
  const inherited = INHERITED.filter((name) => process.env[name] !== undefined);
  return {
    program,
    arguments: ['--v8-pool-size=0', '--input-type=commonjs', '--eval', PROGRAM, addonPath],
    environment: [`${MARK}=1`, ...inherited.map((name) => `${name}=${process.env[name]}`)],
    spareMs: config.compileSpareMs,
  };
}

const compileExecutableRemedy =
  "set compileExecutable to a Node executable, or compileIn: 'thread' for trusted modules";

/** Returns the executable of this process if it is Node itself and not an application that embeds Node. */
function nodeOfThisProcess(): string | undefined {
  const { bun, deno, electron, nw } = process.versions;
  const isNode = process.release.name === 'node' && [bun, deno, electron, nw].every((other) => other === undefined);
  const packed = 'pkg' in process || isSingleExecutable();
  // Without /proc, the path may be the name in the command line.
  const isNamedNode = isAbsolute(process.execPath) && NODE_NAME.test(basename(process.execPath));
  return isNode && !packed && isNamedNode ? process.execPath : undefined;
}

/** Whether Deno's permissions allow starting this command; true outside Deno. */
function denoAllows(command: string): boolean {
  const { Deno } = globalThis as { Deno?: { permissions: { querySync(wanted: object): { state: string } } } };
  return Deno === undefined || Deno.permissions.querySync({ name: 'run', command }).state === 'granted';
}

function isSingleExecutable(): boolean {
  // Available since Node 20.12.
  const sea = process.getBuiltinModule('node:sea') as { isSea(): boolean } | undefined;
  return sea?.isSea() === true;
}
