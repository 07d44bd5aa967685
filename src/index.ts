/** The public surface of the package, and nothing else. */

export type { Adapter, FollowedKey } from './adapters/adapter.ts';
export { WasmtimeFilterPlugin } from './adapters/filter.ts';
export { WasmtimeObservabilityHook } from './adapters/observe.ts';
export { WasmtimeUpstreamDialect } from './adapters/shape.ts';
export { inspectWasm, type ModuleInspection } from './admission/inspect.ts';
export type { HookMetadata, HookMode, PluginMetadata } from './admission/metadata.ts';
export { type Admission, admitWasm, admitWasmAsync } from './admit-wasm.ts';
export type { AsyncCallOptions, CallOptions } from './call-options.ts';
export {
  type ObserveStage,
  PluginChain,
  type PluginChainOptions,
  type ShapeOutcome,
  type ShapeStage,
} from './chain.ts';
export {
  DEFAULT_MEMORY_GUARD_BYTES,
  DEFAULT_MEMORY_MAX_PAGES,
  DEFAULT_MEMORY_RESERVATION_BYTES,
  DEFAULT_POOL_TOTAL_CORE_INSTANCES,
  DEFAULT_POOL_TOTAL_MEMORIES,
  defaultHotEngineConfig,
  type HotEngineConfig,
  type HotEngineConfigInput,
  hotEngineConfigSchema,
  lowLatencyHotEngineConfig,
  maxMemorySizeBytes,
  productionHotEngineConfig,
  virtualMemoryReservationBytes,
} from './config.ts';
export type {
  AdmissionEvent,
  BreakerEvent,
  CallEvent,
  DroppedHeaderEvent,
  EventSubject,
  EvictionEvent,
  KillSwitchEvent,
  SaturationEvent,
  SwapEvent,
  TrapEvent,
} from './diagnostics.ts';
export { buildHotEngine, type HotEngine } from './engine.ts';
export {
  type AdapterFailureKind,
  ClosedError,
  type CompileFailureReason,
  CompileProcessError,
  DialectError,
  type DialectFailureKind,
  EngineInitError,
  type ErrorContext,
  FilterError,
  GuestTrapError,
  InstantiateFailedError,
  InvalidArgumentError,
  ModuleCompileError,
  ModuleRejectedError,
  ObservabilityError,
  PluginUnavailableError,
  PoolSaturatedError,
  ProbeFailedError,
  ResponseTransformError,
  type SaturatedResource,
  SlotNotFoundError,
  StackExhaustedError,
  type UnavailableState,
  type WasmFrame,
  WasmtimeRuntimeError,
} from './errors.ts';
export { type ExplainOptions, type Explanation, explain } from './explain.ts';
export type { FilterOutcome, FilterStage, Routed, StageReport } from './filter-run.ts';
export type { BreakerCause, BreakerOptions, BreakerState } from './isolation/breaker.ts';
export type { MonitorCounts, MonitoredAnswer, MonitorReport } from './isolation/monitor.ts';
export type { FailureCounts, Refusal } from './isolation/slot-stats.ts';
export type { MonitorStatus, SlotStatus } from './isolation/status.ts';
export { prometheusSink } from './metrics/prometheus.ts';
export type { PrometheusClient, PrometheusMetric, PrometheusRegistry } from './metrics/prometheus-client.ts';
export type { MetricsSink } from './metrics/sink.ts';
export type {
  NativeCacheDirStats as CompileCacheStats,
  NativeEngineStats as EngineStats,
  NativeExport as ModuleExport,
  NativeImport as ModuleImport,
  NativeMemoryLimits as ModuleMemoryLimits,
  NativeModuleFacts as ModuleFacts,
  NativeParseError as ModuleParseError,
  NativeSection as ModuleSection,
} from './native/addon.ts';
export type { PluginFailurePolicy } from './policy/failure.ts';
export { towardsUpstream } from './policy/framing.ts';
export { towardsClient } from './policy/headers.ts';
export { outcomeToHttp, type Unavailable, type UnavailableHttpResponse } from './policy/unavailable.ts';
export type {
  EventsOutcome,
  PassedThroughResponse,
  ResponseOutcome,
  ResponseStage,
  TransformedEvents,
  TransformedResponse,
} from './response.ts';
export {
  type RuntimeHealth,
  type RuntimeOptions,
  type RuntimeStats,
  WasmtimeRuntime,
} from './runtime.ts';
export { GLOBAL_PRINCIPAL, SlotKey } from './slot-key.ts';
export type { PluginSlot } from './slots.ts';
export type { EventTransform } from './sse/event-transform.ts';
export { type SseDialect, SseTransformer, type SseTransformerOptions } from './sse/transformer.ts';
export * from './types.ts';
export type { AsyncSlotOptions, PluginCell, SlotOptions } from './versions.ts';
