package appfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longshore/internal/appfile"
	"longshore/internal/placement"
)

// FuzzLoad: any bytes give an app with checked names or an error in three
// parts, and no panic.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/refused/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(b))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := options()
		o.Stdin = strings.NewReader(text)
		app, _, err := appfile.Load(t.Context(), "-", o)
		var e *placement.Error
		switch {
		case err != nil && !errors.As(err, &e):
			t.Errorf("got %v, want three parts", err)
		case err == nil && (placement.CheckName("app", app.Name) != nil || placement.CheckName("owner", app.Owner) != nil || len(app.Services) == 0):
			t.Errorf("got %+v", app)
		}
	})
}
