/** Parses a command line, runs its command, and converts failures to a message and an exit code. */
import { parseArgs } from 'node:util';
import { EngineInitError, InvalidArgumentError, WasmtimeRuntimeError } from '../errors.ts';
import { admit } from './admit.ts';
import { bench } from './bench.ts';
import { call } from './call.ts';
import { type Command, type Io, OK, PLUGIN_FAILED, USAGE, UsageError } from './command.ts';
import { explain } from './explain.ts';
import { inspect } from './inspect.ts';
import { described, json, printableLines } from './output.ts';

const COMMANDS: Readonly<Record<string, Command>> = { inspect, admit, call, explain, bench };

const NOTES = `<hook>    filter, shape, observe, transform_response or transform_sse_event
<config>  default, production, low-latency, or a JSON file with the fields of the runtime's config

--version prints the version of the package.

Exit codes: 0 success, 1 the plugin was rejected or failed, 2 the command line is invalid, 3 the addon does not load,
4 the output cannot be written.`;

/** Runs a command line without its first two words; returns the exit code. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const [name = '--help', ...rest] = argv;
  if (name === '--help' || name === '-h' || name === 'help') {
    io.out(help());
    return OK;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name]! : undefined;
  if (command === undefined) {
    const message = `unknown command ${JSON.stringify(name)}`;
    if (argv.includes('--json')) io.out(usageJson({ message }));
    else io.err(`cc-lb-plugin: ${message}\n\n${help()}`);
    return USAGE;
  }
  return runCommand(command, rest, io);
}

async function runCommand(command: Command, argv: readonly string[], io: Io): Promise<number> {
  const asJson = argv.includes('--json');
  try {
    const options = { ...command.options, help: { type: 'boolean', short: 'h' } } as const;
    const { values, positionals } = parsed(argv, options);
    if (values.help) {
      io.out(`cc-lb-plugin ${command.usage}\n\n${command.summary}\n\n${NOTES}`);
      return OK;
    }
    const [file, ...others] = positionals;
    if (file === undefined || others.length > 0) throw new UsageError('expected one file');
    return await command.run({ file, flags: values }, io);
  } catch (error) {
    if (error instanceof UsageError || error instanceof InvalidArgumentError || error instanceof EngineInitError) {
      if (asJson) io.out(usageJson(error instanceof UsageError ? { message: error.message } : described(error)));
      else io.err(`cc-lb-plugin: ${error.message}\nusage: cc-lb-plugin ${command.usage}`);
      return USAGE;
    }
    if (!(error instanceof WasmtimeRuntimeError)) throw error;
    if (asJson) io.out(json({ error: described(error) }));
    else io.err(`✗ ${error.code}: ${printableLines(error.message)}`);
    return PLUGIN_FAILED;
  }
}

/** Formats a usage error as JSON. An error of the runtime has its own code. */
function usageJson(error: Readonly<Record<string, unknown>>): string {
  return json({ error: { code: 'CC_LB_USAGE', ...error } });
}

function parsed(argv: readonly string[], options: Command['options']) {
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function help(): string {
  const lines = Object.values(COMMANDS).map(({ usage, summary }) => `  ${usage}\n      ${summary}`);
  return `cc-lb-plugin: inspect, admit, call and measure plugins\n\n${lines.join('\n')}\n\n${NOTES}`;
}
