/** A dry run: calls the plugins for a request without sending it. */
import { randomUUID } from 'node:crypto';
import type { CacheLedger } from './cache-ledger.ts';
import { noneAvailable } from './failure.ts';
import { endToEnd, type HeaderPairs } from './headers.ts';
import { Prompt } from './prompt.ts';
import { splitTarget, targetProblem } from './target.ts';
import { candidatesOf, type View } from './view.ts';

/** The request to explain. */
export interface DryRun {
  /** The id of a principal. */
  readonly principal: string;
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: HeaderPairs;
  readonly body: string;
}

/** The explanation of a request. */
export interface Explanation {
  readonly candidates: readonly { readonly name: string; readonly breaker: string }[];
  readonly filters: readonly {
    readonly plugin: string;
    /** Names of upstreams; null if the filter failed. */
    readonly kept: readonly string[] | null;
    readonly reason: string;
    readonly rejected: readonly { readonly upstream: string; readonly reason: string; readonly text: string }[];
  }[];
  /** The upstreams in the order in which they would be tried. */
  readonly order: readonly string[];
  /** The request to the first upstream; null if there is none. */
  readonly request: {
    readonly kind: 'shaped' | 'passed-through';
    readonly url: string;
    readonly method: string;
    readonly headers: HeaderPairs;
    readonly bodyBytes: number;
  } | null;
  /** Why no upstream would receive the request, or why its shape was skipped. */
  readonly problem: string | null;
}

/**
 * Runs filters and shape for a request with the current predictions. Rejects for a principal that the view does not have
 * and for an invalid target.
 */
export async function explain(
  view: View,
  ledger: CacheLedger,
  { principal: id, method, path: url, headers, body }: DryRun,
): Promise<Explanation> {
  const principal = view.principal(id);
  if (principal === undefined) throw new Error(`unknown principal ${JSON.stringify(id)}`);
  const unsafe = targetProblem(url);
  if (unsafe !== null) throw new Error(unsafe);
  const { chain } = view.pluginsOf(principal);
  const prompt = new Prompt(Buffer.from(body));
  const connection = headers.find(([name]) => name.toLowerCase() === 'connection')?.[1];
  const context = {
    requestId: randomUUID(),
    method,
    ...splitTarget(url),
    headers: endToEnd(headers.flat(), connection),
    body: Buffer.from(body),
    canonicalModelId: prompt.model,
    serviceTier: prompt.serviceTier,
  };
  const { targets } = view;
  const nameOf = (upstreamId: string) => targets.find(({ route }) => route.id === upstreamId)?.route.name ?? upstreamId;
  const admitting = targets.filter(({ upstream }) => upstream.admits(principal.id));
  const states = targets.map(({ route, upstream }) => ({ name: route.name, breaker: upstream.breaker.state }));
  if (targets.length > 0 && admitting.length === 0) {
    return { candidates: states, filters: [], order: [], request: null, problem: noneAvailable().message };
  }
  const candidates = candidatesOf(admitting, ledger, prompt);
  const routed = await chain.filterAsync(context, principal, candidates);
  const explained = {
    candidates: states,
    filters: routed.stages.map(({ plugin, output, error }) => ({
      plugin,
      kept: output?.keptUpstreamIds.map(nameOf) ?? null,
      reason: output?.reason ?? String(error),
      rejected: (output?.perCandidateReasons ?? []).map(({ upstreamId, reason, text }) => ({
        upstream: nameOf(upstreamId),
        reason,
        text,
      })),
    })),
  };
  if (routed.kind === 'unavailable') return { ...explained, order: [], request: null, problem: routed.code };
  const order = routed.candidates.map(({ name }) => name);
  const first = targets.find(({ route }) => route.id === routed.candidates[0]!.upstreamId)!;
  const upstream = { kind: 'anthropic_direct', baseUrl: first.route.baseUrl } as const;
  const shaped = await chain.shapeAsync(context, upstream, principal);
  if (shaped.kind === 'unavailable') return { ...explained, order, request: null, problem: String(shaped.error) };
  const request = {
    kind: shaped.kind,
    url: shaped.request.url.href,
    method: shaped.request.method,
    headers: shaped.request.headers,
    bodyBytes: shaped.request.body.length,
  };
  const problem = shaped.kind === 'passed-through' && shaped.error !== undefined ? String(shaped.error) : null;
  return { ...explained, order, request, problem };
}
