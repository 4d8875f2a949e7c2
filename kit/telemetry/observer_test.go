// SPDX-License-Identifier: Apache-2.0

package telemetry_test

import (
	"testing"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/telemetry"
)

func TestObserverSeesSpansWithoutAnExporter(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	seen := tracetest.NewSpanRecorder()
	tel, err := telemetry.Setup(t.Context(), config.DefaultTelemetry(), "test", telemetry.WithObserver(seen))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tel.Tracer().Tracer("test").Start(t.Context(), "work")
	span.End()
	if got := seen.Ended(); len(got) != 1 || got[0].Name() != "work" {
		t.Errorf("the observer saw %v", got)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
