package appfile

import (
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	"go.yaml.in/yaml/v4"

	"longshore/internal/placement"
)

// Bounds of what one service may ask for.
const (
	maxReplicas = 10_000
	maxCPUs     = 10_000
	maxMemory   = 1 << 50
	// minMemory is the least cap that Docker sets.
	minMemory = 6 << 20
)

// compose loads a checked file with compose-go. It gets the mapping without
// what is ignored, and our way of expanding variables: so it has nothing to
// log (its log is global).
func compose(ctx context.Context, doc *yaml.Node, root *item, name, dir, file string, env map[string]string) (*types.Project, error) {
	var model map[string]any
	if err := doc.Decode(&model); err != nil {
		return nil, err
	}
	ignored := func(key string, _ any) bool { return strings.HasPrefix(key, "x-") || key == "version" }
	maps.DeleteFunc(model, ignored)
	if services, ok := model["services"].(map[string]any); ok {
		for _, s := range services {
			if s, ok := s.(map[string]any); ok {
				maps.DeleteFunc(s, ignored)
			}
		}
	}
	details := types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: file, Config: model}},
		Environment: env,
	}
	return loader.LoadWithContext(ctx, details, func(o *loader.Options) {
		o.SetProjectName(name, true)
		o.SkipInclude, o.SkipExtends = true, true
		o.Interpolate.Substitute = func(s string, m template.Mapping) (string, error) { return expand(s, m) }
	})
}

var composePath = regexp.MustCompile(`services\.[A-Za-z0-9_.\[\]-]+`)

// locate finds the place in the file that compose-go's error speaks of.
func locate(root *item, err error) problem {
	p := problem{at: root.at, what: "Compose refuses the file", why: oneLine(err.Error()), next: "correct it; compose-spec.io describes each field"}
	path := composePath.FindString(err.Error())
	n := root
	for _, key := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		k := n.kid(key)
		if k == nil {
			break
		}
		n = k
	}
	if n != root {
		p.at, p.what = n.at, n.path+" is not what Compose expects"
	}
	return p
}

// convert turns a loaded project into an app without owner and name.
func convert(project *types.Project, root *item) (placement.App, []problem) {
	app := placement.App{V: placement.Format}
	var problems []problem
	for _, name := range slices.Sorted(maps.Keys(project.Services)) {
		in := root.kid("services").kid(name)
		svc, bad := convertService(project.Services[name], in)
		schedOf(root.kid("x-sched"), in.kid("x-sched")).apply(&svc)
		problems = append(problems, bad...)
		app.Services = append(app.Services, svc)
	}
	return app, problems
}

func convertService(in types.ServiceConfig, at *item) (placement.Service, []problem) {
	out := placement.Service{Name: in.Name, Replicas: 1}
	r := &out.Request
	r.V, r.Image, r.Command = placement.Format, in.Image, in.Command
	for _, k := range slices.Sorted(maps.Keys(in.Environment)) {
		if v := in.Environment[k]; v != nil {
			r.Env = append(r.Env, k+"="+*v)
		}
	}
	var err error
	if r.Ports, err = convertPorts(in.Ports); err != nil {
		return out, []problem{{at: at.kid("ports").at, what: err.Error()}}
	}
	if r.Restart, r.Retries, err = restartPolicy(in.Restart); err != nil {
		return out, []problem{{at: at.kid("restart").at, what: err.Error()}}
	}
	var problems []problem
	if in.Deploy != nil {
		if in.Deploy.Replicas != nil {
			out.Replicas = *in.Deploy.Replicas
		}
		problems = resources(r, in.Deploy.Resources, at)
	}
	return out, append(problems, missingEnv(in, at)...)
}

// missingEnv reports variables that the environment only names, and that are
// not set where the file is loaded.
func missingEnv(in types.ServiceConfig, at *item) []problem {
	var problems []problem
	env := at.kid("environment")
	for _, k := range slices.Sorted(maps.Keys(in.Environment)) {
		switch {
		case k == "" || strings.ContainsAny(k, "=\x00"):
			problems = append(problems, problem{at: env.at, what: fmt.Sprintf("environment of service %s has a variable named %q", in.Name, k), why: "a variable is NAME=value", next: "correct the name"})
		case in.Environment[k] == nil:
			where := env.at
			for _, e := range env.kids {
				if e.key == k || e.text == k {
					where = e.at
				}
			}
			problems = append(problems, problem{at: where, what: fmt.Sprintf("variable %s is not set", k), why: fmt.Sprintf("environment of service %s names it without a value", in.Name), next: fmt.Sprintf("export %s=..., or write its value; %s= gives it an empty one", k, k)})
		}
	}
	return problems
}

// resources sets needs and limits: without a reservation the limit is what is
// reserved.
func resources(r *placement.Request, in types.Resources, at *item) []problem {
	var limit, need placement.Resources
	for _, part := range []struct {
		from *types.Resource
		to   *placement.Resources
	}{{in.Limits, &limit}, {in.Reservations, &need}} {
		if part.from != nil {
			part.to.CPU = int64(math.Round(float64(part.from.NanoCPUs) * 1000))
			part.to.Memory = int64(part.from.MemoryBytes)
		}
	}
	place := at.kid("deploy").kid("resources")
	reserved := place.kid("reservations")
	var problems []problem
	if limit.CPU > 0 && need.CPU > limit.CPU {
		problems = append(problems, problem{at: reserved.kid("cpus").at, what: fmt.Sprintf("service %s reserves more cpus than its limit", at.key), why: fmt.Sprintf("reservation %.3g, limit %.3g", float64(need.CPU)/1000, float64(limit.CPU)/1000), next: "raise the limit or lower the reservation"})
	}
	if limit.Memory > 0 && need.Memory > limit.Memory {
		problems = append(problems, problem{at: reserved.kid("memory").at, what: fmt.Sprintf("service %s reserves more memory than its limit", at.key), why: fmt.Sprintf("reservation %s, limit %s", units.BytesSize(float64(need.Memory)), units.BytesSize(float64(limit.Memory))), next: "raise the limit or lower the reservation"})
	}
	r.Limits, r.Needs = limit, need
	if need.CPU == 0 {
		r.Needs.CPU = limit.CPU
	}
	if need.Memory == 0 {
		r.Needs.Memory = limit.Memory
	}
	if ceiling := max(limit.Memory, r.Needs.Memory); ceiling > 0 && ceiling < minMemory {
		problems = append(problems, problem{at: place.at, what: fmt.Sprintf("memory of service %s is %s", at.key, units.BytesSize(float64(ceiling))), why: "Docker caps no container below 6 MiB", next: "write at least 6m"})
	}
	return problems
}

// restartPolicy reads Compose's restart: a policy of ours, and how often.
func restartPolicy(s string) (policy string, retries int, err error) {
	switch name, times, counted := strings.Cut(s, ":"); {
	case s == "" || s == "always" || s == "unless-stopped":
		return placement.RestartAlways, 0, nil
	case s == "no" || s == "false":
		return placement.RestartNo, 0, nil
	case name == placement.RestartOnFailure && !counted:
		return placement.RestartOnFailure, 0, nil
	case name == placement.RestartOnFailure:
		retries, err = strconv.Atoi(times)
		if err == nil && retries > 0 {
			return placement.RestartOnFailure, retries, nil
		}
	}
	return "", 0, fmt.Errorf("unknown restart policy %q", s)
}
