// Reads dashboards as Grafana's own types have them: a field that it does not know, or
// a value that it does not take, is an error. usage: go run . FILE…
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// What is wrong: the library also gives a list of mistakes that has none.
func mistakes(err error) error {
	if err == nil || err.Error() == "" {
		return nil
	}
	return err
}

func check(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var read dashboard.Dashboard
	if err := mistakes(read.UnmarshalJSONStrict(raw)); err != nil {
		return err
	}
	if err := mistakes(read.Validate()); err != nil {
		return err
	}
	// The same again for each panel: a dashboard's own look loses what it reads there.
	var parts struct{ Panels []json.RawMessage }
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	if len(parts.Panels) == 0 {
		return fmt.Errorf("it has no panel")
	}
	for _, part := range parts.Panels {
		var panel dashboard.Panel
		if err := mistakes(panel.UnmarshalJSONStrict(part)); err != nil {
			return err
		}
		if err := mistakes(panel.Validate()); err != nil {
			return err
		}
		var of struct{ FieldConfig json.RawMessage }
		if err := json.Unmarshal(part, &of); err != nil {
			return err
		}
		var fields dashboard.FieldConfigSource
		if err := mistakes(fields.UnmarshalJSONStrict(of.FieldConfig)); err != nil {
			return err
		}
		// Of any other kind the options and queries were not looked at.
		if panel.Type != "timeseries" {
			return fmt.Errorf("a panel is a %s: register its kind here", panel.Type)
		}
		for _, target := range panel.Targets {
			if _, known := target.(*prometheus.Dataquery); !known {
				return fmt.Errorf("a query is a %T", target)
			}
		}
	}
	fmt.Printf("%s: %d panels\n", file, len(parts.Panels))
	return nil
}

func main() {
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
	for _, file := range os.Args[1:] {
		if err := check(file); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			os.Exit(1)
		}
	}
}
