/** `cc-lb-plugin inspect`: reports the facts and problems of a module without running it. */
import { inspectWasm, type ModuleInspection } from '../admission/inspect.ts';
import { printable } from '../printable.ts';
import { HOOK_KINDS } from '../types.ts';
import { findSchema } from '../wire/schemas.ts';
import { type Command, hookOf, OK, OPTIONS, PLUGIN_FAILED, readBytes } from './command.ts';
import { columns, json } from './output.ts';

export const inspect: Command = {
  summary: 'print the facts and problems of a module without running it',
  usage: ['inspect <file.wasm> [--kind <hook>] [--json]'],
  options: { kind: OPTIONS.kind, json: OPTIONS.json },
  async run(values, io) {
    const bytes = readBytes(values.file);
    const inspection = inspectWasm(bytes, hookOf(values, 'kind'));
    const { metadata, problems } = inspection;
    const hooks = hooksOf(inspection);
    if (values.flags.json) io.out(json({ size: bytes.length, metadata, hooks, problems }));
    else io.out(report(bytes.length, inspection, hooks));
    return problems.length === 0 ? OK : PLUGIN_FAILED;
  },
};

interface Hook {
  readonly hook: string;
  readonly mode: string | null;
  readonly fingerprint: string | null;
  /** The PDK releases with this fingerprint. */
  readonly pdkReleases: readonly string[];
}

function hooksOf({ metadata, hookFingerprints }: ModuleInspection): Hook[] {
  const declared = HOOK_KINDS.filter((hook) => metadata?.hooks[hook] !== undefined);
  return declared.map((hook) => {
    const fingerprint = hookFingerprints[hook] ?? null;
    const schema = fingerprint === null ? undefined : findSchema(hook, fingerprint);
    const mode = metadata?.hooks[hook]?.mode ?? null;
    return { hook, mode, fingerprint, pdkReleases: schema?.pdkReleases ?? [] };
  });
}

function report(size: number, { metadata, problems }: ModuleInspection, hooks: readonly Hook[]): string {
  const facts = [
    ['plugin', metadata === null ? '—' : `${metadata.name} ${metadata.version}`],
    ['description', metadata?.description ?? '—'],
    ['usage', metadata?.usage ?? '—'],
    ['size', `${size} bytes`],
  ];
  const lines = [columns(facts)];
  if (hooks.length > 0) {
    const rows = hooks.map(({ hook, mode, fingerprint, pdkReleases }) => [
      hook,
      mode ?? 'active',
      fingerprint?.slice(0, 8) ?? '—',
      pdkReleases.join(', ') || 'unknown',
    ]);
    lines.push('', columns([['hook', 'mode', 'fingerprint', 'PDK'], ...rows]));
  }
  lines.push(
    '',
    problems.length === 0 ? 'no problems' : problems.map((problem) => `✗ ${printable(problem)}`).join('\n'),
  );
  return lines.join('\n');
}
