// Package trace shows where the time of a piece of work goes, over all the
// processes that take part in it. It owns what a step is, how a trace crosses a
// link, and the ring of recent steps in each process; it fences OpenTelemetry
// in.
//
//	Start(ctx, name) ... End      a step of the trace in ctx; nothing without one
//	Tracer.Under, Record          the first step of a process, steps told later
//	Tracer.Serve, Invoke          middleware of rpc: W3C traceparent in the header
//	Tracer.Spans, Methods         what this process knows of a trace
//	Tree                          the steps of all processes in one order
//
// A collector is not needed: each process keeps its last steps, and whoever
// asks puts them together. Where the standard variable
// OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT) is set, the steps go
// there too, over HTTP.
//
// Clocks: a step's start and length are on the monotonic clock of its process,
// and only compared with steps of the same process. A step that another
// process began for a call lies in the middle of that call, as if the message
// took as long there as back: so the error is less than half of the time that
// the call spent on its way, whatever the machines' clocks say.
//
// Invariants:
//   - What is not traced costs one look into the context. Beats, reports and
//     heartbeats never are: their contexts have no trace.
//   - A process keeps a bounded number of steps, the newest.
//   - Nothing depends on a trace. One that is lost, or begun anew after a
//     restart, changes nothing but what people see.
package trace
