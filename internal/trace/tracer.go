package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// Attributes of exported steps.
const (
	keyAbout = "longshore.placement"
	keyNote  = "longshore.note"
	keyTo    = "longshore.peer"
)

// Tracer begins steps in one process and keeps the last of them. A nil Tracer
// traces nothing; all its methods may be called.
type Tracer struct {
	ring     *ring
	guests   guests
	provider *sdktrace.TracerProvider
	otel     oteltrace.Tracer
}

// New makes the tracer of a process. Part is what people call it: "schedctl",
// "broadcaster", "agent n7". Where the standard variables of OpenTelemetry name
// an endpoint the steps are exported there, at leisure; one that cannot be
// reached costs no more than a log line of the library's.
func New(ctx context.Context, part string) (*Tracer, error) {
	t := &Tracer{ring: newRing(part, time.Now())}
	service, name, _ := strings.Cut(part, " ")
	about := resource.NewSchemaless(
		attribute.String("service.name", "longshore-"+service),
		attribute.String("service.instance.id", cmp.Or(name, service)),
	)
	opts := []sdktrace.TracerProviderOption{
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // for the ring
		sdktrace.WithResource(about),
		sdktrace.WithSpanProcessor(t.ring),
	}
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" {
		exporter, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("export traces to $OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
		}
		opts = append(opts, sdktrace.WithBatcher(exporter))
	}
	t.provider = sdktrace.NewTracerProvider(opts...)
	t.otel = t.provider.Tracer("longshore")
	return t, nil
}

// Close exports what is left, for two seconds at most whether ctx has ended or
// not, and ends the tracer.
// Steps that are begun later are not traced.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("export the last traces: %w", err)
	}
	return nil
}

// Under begins a step under the one that a W3C traceparent names, or a new
// trace if it names none.
func (t *Tracer) Under(ctx context.Context, parent, name string) (context.Context, *Step) {
	if t == nil {
		return ctx, nil
	}
	return t.begin(ctx, parse(parent), name, "")
}

// Record tells of a step that is over: it went from start to end and was about
// a placement. It belongs under parent, or begins a new trace if that names
// none. What is returned names where further steps belong: parent, or the new
// trace's step.
func (t *Tracer) Record(parent, name, about string, start, end time.Time) string {
	if t == nil {
		return parent
	}
	above := parse(parent)
	s := t.step(above, name, about, oteltrace.WithTimestamp(start))
	s.span.End(oteltrace.WithTimestamp(end))
	if above.IsValid() {
		return parent
	}
	return s.Parent()
}

func (t *Tracer) begin(ctx context.Context, above oteltrace.SpanContext, name, about string, opts ...oteltrace.SpanStartOption) (context.Context, *Step) {
	s := t.step(above, name, about, opts...)
	return context.WithValue(ctx, stepKey{}, s), s
}

func (t *Tracer) step(above oteltrace.SpanContext, name, about string, opts ...oteltrace.SpanStartOption) *Step {
	if about != "" {
		opts = append(opts, oteltrace.WithAttributes(attribute.String(keyAbout, about)))
	}
	only := oteltrace.ContextWithSpanContext(context.Background(), above) //nolint:forbidigo // it says what is above, and nothing else
	_, span := t.otel.Start(only, name, opts...)
	return &Step{t: t, span: span, about: about}
}
