/** `cc-lb-plugin explain`: calls a hook once and shows where in the plugin it failed. */
import { type Explanation, explain as explainCall } from '../explain.ts';
import { printable } from '../printable.ts';
import { type Command, calledHookOf, configOf, countOf, OK, OPTIONS, PLUGIN_FAILED, readBytes } from './command.ts';
import { columns, described, json, printableLines } from './output.ts';
import { requestOf } from './requests.ts';

export const explain: Command = {
  summary: 'call a hook and show where in the plugin it fails',
  usage: ['explain <file.wasm> --hook <hook> [--request <file.json>] [--config <config>] [--deadline <ms>] [--json]'],
  options: {
    hook: OPTIONS.hook,
    request: OPTIONS.request,
    config: OPTIONS.config,
    deadline: OPTIONS.deadline,
    json: OPTIONS.json,
  },
  async run(values, io) {
    const hook = calledHookOf(values);
    const request = requestOf(values, hook);
    const options = { config: configOf(values), deadlineMs: countOf(values, 'deadline', 1) };
    const explanation = await explainCall(readBytes(values.file), hook, request, options);
    const { error, trap } = explanation;
    if (values.flags.json) io.out(json({ error: error === null ? null : described(error), trap }));
    else io.out(report(explanation));
    return error === null ? OK : PLUGIN_FAILED;
  },
};

function report({ error, trap }: Explanation): string {
  if (error === null) return 'the call did not fail';
  const lines = [`${error.code}: ${printableLines(error.message)}`];
  if (trap === null) return lines.join('\n');
  lines.push(`trap ${trap.trap} in phase ${trap.phase}`);
  const rows = trap.frames.map(({ function: name, index, offset }) => [
    name === null ? '(no name)' : printable(name),
    String(index),
    offset === null ? '' : `0x${offset.toString(16)}`,
  ]);
  if (rows.length > 0) lines.push('', columns([['function', 'index', 'offset'], ...rows]));
  return lines.join('\n');
}
