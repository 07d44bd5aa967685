/** Parses a command line, runs its command, and converts failures to a message and an exit code. */
import { parseArgs } from 'node:util';
import { EngineInitError, InvalidArgumentError, WasmtimeRuntimeError } from '../errors.ts';
import { printable } from '../printable.ts';
import { admit } from './admit.ts';
import { bench } from './bench.ts';
import { call } from './call.ts';
import { type Command, type Io, OK, type Option, PLUGIN_FAILED, USAGE, UsageError } from './command.ts';
import { explain } from './explain.ts';
import { inspect } from './inspect.ts';
import { columns, described, json, printableLines } from './output.ts';

const COMMANDS: Readonly<Record<string, Command>> = { inspect, admit, call, explain, bench };

const NOTES = `<hook>    filter, shape, observe, transform_response or transform_sse_event
<config>  default, production, low-latency, or a JSON file with the fields of the runtime's config

--version prints the version of the package.

Exit codes: 0 success, 1 the plugin was rejected or failed, 2 the command line is invalid, 3 the addon does not load,
4 the output cannot be written.`;

const HELP: Option = { type: 'boolean', short: 'h', help: 'print this help' };

/** Runs a command line without its first two words; returns the exit code. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const [first = '--help', ...rest] = argv;
  const isHelp = first === '--help' || first === '-h' || first === 'help';
  if (isHelp && (rest[0] ?? '-').startsWith('-')) {
    io.out(help());
    return OK;
  }
  const name = isHelp ? rest[0]! : first;
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name]! : undefined;
  if (command === undefined) {
    const message = printable(`unknown command ${JSON.stringify(name)}`);
    if (argv.includes('--json')) io.out(usageJson({ message }));
    else io.err(`cc-lb-plugin: ${message}\n\n${help()}`);
    return USAGE;
  }
  return runCommand(command, isHelp ? ['--help'] : rest, io);
}

async function runCommand(command: Command, argv: readonly string[], io: Io): Promise<number> {
  const asJson = argv.includes('--json');
  try {
    const options = { ...command.options, help: HELP };
    const { values, positionals } = parsed(argv, options);
    if (values.help) {
      io.out(`${usage(command, '')}\n\n${command.summary}\n\n${columns(optionRows(options))}\n\n${NOTES}`);
      return OK;
    }
    const [file = '', ...others] = positionals;
    const needsFile = command.withoutFile === undefined || values[command.withoutFile] !== true;
    if ((file === '' && needsFile) || others.length > 0) throw new UsageError('expected one file');
    return await command.run({ file, flags: values }, io);
  } catch (error) {
    if (error instanceof UsageError || error instanceof InvalidArgumentError || error instanceof EngineInitError) {
      if (asJson) io.out(usageJson(error instanceof UsageError ? { message: error.message } : described(error)));
      else io.err(`cc-lb-plugin: ${printableLines(error.message)}\n${usage(command, 'usage: ')}`);
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
    // The rest of Node's message explains positional arguments that start with a dash, which no command has.
    throw new UsageError((error as Error).message.replace(/\. To specify .*/s, ''));
  }
}

function help(): string {
  const lines = Object.values(COMMANDS).map(({ usage, summary }) => `  ${usage.join('\n  ')}\n      ${summary}`);
  const title = 'cc-lb-plugin: inspect, admit, call, explain and measure plugins';
  return `${title}\n\n${lines.join('\n')}\n\ncc-lb-plugin <command> --help describes the options.\n\n${NOTES}`;
}

/** The command lines of a command, aligned after `label`. */
function usage(command: Command, label: string): string {
  return command.usage.map((line, i) => `${i === 0 ? label : ' '.repeat(label.length)}cc-lb-plugin ${line}`).join('\n');
}

function optionRows(options: Command['options']): string[][] {
  return Object.entries(options).map(([name, { short, help }]) => [
    short === undefined ? `--${name}` : `--${name}, -${short}`,
    help,
  ]);
}
