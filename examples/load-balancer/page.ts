/** The status page. It fetches `/status` every second and escapes every text, because plugins choose some of them. */
export const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Load balancer</title>
<style>
  body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f24; }
  h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
  th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #d8dee4; overflow-wrap: break-word; }
  td { max-width: 28rem; }
  th { font-weight: 600; color: #57606a; white-space: nowrap; }
  .tiles { display: flex; gap: 2rem; flex-wrap: wrap; } .tiles b { display: block; font-size: 1.6rem; }
  .bad { color: #b42318; } svg { width: 100%; height: 4rem; background: #f6f8fa; }
  @media (prefers-color-scheme: dark) {
    body { background: #0d1117; color: #e6edf3; } th { color: #9198a1; } th, td { border-color: #30363d; } svg { background: #161b22; }
    .bad { color: #ff7b72; }
  }
</style>
<h1>Load balancer <span id="ready"></span></h1>
<div class="tiles">
  <div><b id="rate">–</b>requests a second</div><div><b id="flight">–</b>in flight</div>
  <div><b id="total">–</b>requests</div><div><b id="failed">–</b>failed (5xx)</div><div><b id="restarts">–</b>worker restarts</div>
</div>
<svg viewBox="0 0 120 40" preserveAspectRatio="none" role="img" aria-label="requests a second over two minutes">
  <polyline id="line" fill="none" stroke="#2f81f7" stroke-width="1" vector-effect="non-scaling-stroke"/>
</svg>
<h2>Plugins</h2><table id="plugins"></table>
<h2>Rejected</h2><table id="rejections"></table>
<h2>Upstreams</h2><table id="upstreams"></table>
<h2>Workers</h2><table id="workers"></table>
<h2>Last requests</h2><table id="recent"></table>
<script>
  const at = (id) => document.getElementById(id);
  const rates = [];
  let last;
  function fill(id, headings, rows) {
    const line = (tag, cells) => {
      const row = document.createElement('tr');
      for (const cell of cells) row.appendChild(document.createElement(tag)).textContent = String(cell ?? '–');
      return row;
    };
    at(id).replaceChildren(line('th', headings), ...rows.map((row) => line('td', row)));
  }
  function show(status) {
    const total = Object.values(status.statuses).reduce((sum, count) => sum + count, 0);
    const failed = Object.entries(status.statuses).reduce((sum, [code, count]) => (code >= 500 ? sum + count : sum), 0);
    const now = performance.now();
    if (last) rates.push(Math.max(0, ((total - last.total) * 1000) / (now - last.now)));
    last = { total, now };
    if (rates.length > 120) rates.shift();
    at('ready').textContent = status.isReady ? 'ready' : 'not ready';
    at('ready').className = status.isReady ? '' : 'bad';
    at('rate').textContent = rates.length ? rates.at(-1).toFixed(0) : '–';
    at('flight').textContent = status.requestsInFlight;
    at('total').textContent = total;
    at('failed').textContent = failed;
    at('restarts').textContent = status.restarts;
    const top = Math.max(1, ...rates);
    at('line').setAttribute('points', rates.map((rate, i) => i + ',' + (40 - (rate / top) * 38).toFixed(1)).join(' '));
    fill('plugins', ['plugin', 'principal', 'kind', 'version', 'content hash', 'breaker', 'disabled', 'calls', 'failures', 'rejected calls'],
      status.plugins.map((p) => [p.plugin, p.principal ?? 'everybody', p.kind, p.version, p.contentHash.slice(0, 12), p.breaker, p.disabled, p.calls, p.failures, p.unavailable]));
    fill('rejections', ['plugin', 'at', 'reason'], status.rejections.map((r) => [r.plugin, r.at, r.reason]));
    fill('upstreams', ['upstream', 'breaker'], status.upstreams.map((u) => [u.name, u.breaker]));
    fill('workers', ['process', 'serving', 'in flight', 'known prompts', 'resident memory'],
      status.workers.map((w) => [w.pid, w.isServing ? 'yes' : 'no', w.requestsInFlight, w.knownPrompts, (w.residentBytes / 1048576).toFixed(0) + ' MiB']));
    fill('recent', ['request', 'path', 'principal', 'upstream', 'status', 'ms', 'decisions'],
      status.recent.map((r) => [r.requestId.slice(0, 8), r.method + ' ' + r.path, r.principal, r.upstream, r.status, r.durationMs.toFixed(1),
        r.decisions.map((d) => d.plugin + ' kept ' + (d.kept ?? 'all (failed)') + (d.reason ? ': ' + d.reason : '')).join('; ')]));
  }
  async function look() {
    try {
      show(await (await fetch('/status')).json());
    } catch {
      at('ready').textContent = 'no answer';
      at('ready').className = 'bad';
    }
    setTimeout(look, 1000);
  }
  look();
</script>
`;
