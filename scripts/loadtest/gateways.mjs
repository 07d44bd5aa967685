// Other gateways, installed from their registries into a temporary folder that later runs reuse.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { answers, freePort } from './contestants.mjs';

const PORTKEY = '1.15.2';
const folder = join(tmpdir(), 'cc-lb-loadtest-gateways');

/** Starts every gateway that can be installed, and reports those that cannot. */
export async function startGateways(upstream) {
  const started = [];
  for (const [name, start] of [
    ['Portkey', startPortkey],
    ['LiteLLM', startLiteLlm],
  ]) {
    try {
      started.push(await start(upstream));
    } catch (error) {
      console.log(`${name} is left out: ${error.message}`);
    }
  }
  return started;
}

async function startPortkey({ url: upstreamUrl }) {
  const own = join(folder, 'portkey');
  const script = join(own, 'node_modules/@portkey-ai/gateway/build/start-server.js');
  if (!existsSync(script)) {
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, 'package.json'), '{"private":true}');
    install('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', `@portkey-ai/gateway@${PORTKEY}`], own);
  }
  const port = await freePort();
  const environment = { ...process.env, NODE_ENV: 'production', TRUSTED_CUSTOM_HOSTS: '127.0.0.1,localhost' };
  const child = spawn(process.execPath, [script, `--port=${port}`, '--headless'], {
    stdio: 'ignore',
    env: environment,
  });
  const url = `http://127.0.0.1:${port}`;
  await answers(url, child);
  const headers = { 'x-portkey-provider': 'anthropic', 'x-portkey-custom-host': `${upstreamUrl}/v1` };
  return { name: `Portkey ${PORTKEY}`, url, headers, pids: () => [child.pid], close: () => child.kill('SIGKILL') };
}

async function startLiteLlm({ url: upstreamUrl }) {
  const own = join(folder, 'litellm');
  const program = join(own, 'bin/litellm');
  if (!existsSync(program)) {
    mkdirSync(folder, { recursive: true });
    install('python3', ['-m', 'venv', own], folder);
    install(join(own, 'bin/pip'), ['install', '--quiet', 'litellm[proxy]'], folder);
  }
  const config = join(own, 'config.yaml');
  const model = { model: 'anthropic/claude-3-haiku-20240307', api_base: upstreamUrl, api_key: 'none' };
  writeFileSync(
    config,
    JSON.stringify({ model_list: [{ model_name: 'claude-3-haiku-20240307', litellm_params: model }] }),
  );
  const port = await freePort();
  const key = `sk-${randomBytes(32).toString('hex')}`;
  const settings = { LITELLM_LOCAL_MODEL_COST_MAP: 'True', LITELLM_LOG: 'ERROR', LITELLM_MASTER_KEY: key };
  const environment = { ...process.env, ...settings };
  const args = ['--config', config, '--port', String(port), '--host', '127.0.0.1', '--telemetry', 'False'];
  const child = spawn(program, args, { stdio: 'ignore', env: environment });
  const url = `http://127.0.0.1:${port}`;
  try {
    await answers(`${url}/health/liveliness`, child, 120);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  // It starts only with a key, which it checks for every request.
  const headers = { authorization: `Bearer ${key}`, 'x-api-key': key };
  return { name: 'LiteLLM', url, headers, pids: () => [child.pid], close: () => child.kill('SIGKILL') };
}

function install(command, args, cwd) {
  console.log(`• ${command} ${args.join(' ')}`);
  const { status, error } = spawnSync(command, args, { cwd, stdio: ['ignore', 'ignore', 'inherit'] });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command} ended with ${status}`);
}
