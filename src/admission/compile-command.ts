/** How a compile process is started: a Node that loads this addon and hands itself over to it. */

import { basename } from 'node:path';
import type { HotEngineConfig } from '../config.ts';
import { CompileProcessError } from '../errors.ts';
import { addonPath, type NativeCommand } from '../native/addon.ts';

/** The program of a compile process, short enough to be an argument: a bundle has no file to name. */
const PROGRAM = 'const m={exports:{}};process.dlopen(m,process.argv[1]);m.exports.runCompileProcess()';
/** Set in every compile process, which starts none itself: an application that is taken for Node would do so for ever. */
const MARK = 'CC_LB_RUNTIME_WASMTIME_COMPILE_PROCESS';
/** What loading Node may need: where its libraries are, and where Windows is. */
const INHERITED = ['LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'DYLD_FALLBACK_LIBRARY_PATH', 'SystemRoot'];
/** The file names under which Node is installed. */
const NODE_NAME = /^node(js)?[-.\d]*(\.exe)?$/i;

/**
 * The command of a compile process. Throws a CompileProcessError that names the setting where this process may start
 * none, or is not known to be Node and `compileExecutable` names none.
 */
export function compileCommand(config: HotEngineConfig): NativeCommand {
  if (process.env[MARK] !== undefined) {
    throw new CompileProcessError(`a compile process starts none itself: ${compileExecutableRemedy}`);
  }
  if (process.permission?.has('child') === false) {
    throw new CompileProcessError(
      "a compile process needs --allow-child-process beside --permission, or compileIn: 'thread' for trusted modules",
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

const compileExecutableRemedy = "let compileExecutable name a Node, or set compileIn: 'thread' for trusted modules";

/** The executable of this process if it is Node itself, and not an application with Node inside. */
function nodeOfThisProcess(): string | undefined {
  const { bun, deno, electron, nw } = process.versions;
  const isNode = process.release.name === 'node' && [bun, deno, electron, nw].every((other) => other === undefined);
  const packed = 'pkg' in process || isSingleExecutable();
  return isNode && !packed && NODE_NAME.test(basename(process.execPath)) ? process.execPath : undefined;
}

/** What Deno would ask of JavaScript that starts a process; true where this is not Deno. */
function denoAllows(command: string): boolean {
  const { Deno } = globalThis as { Deno?: { permissions: { querySync(wanted: object): { state: string } } } };
  return Deno === undefined || Deno.permissions.querySync({ name: 'run', command }).state === 'granted';
}

function isSingleExecutable(): boolean {
  // Node 20.12 and later have it.
  const sea = process.getBuiltinModule('node:sea') as { isSea(): boolean } | undefined;
  return sea?.isSea() === true;
}
