package broadcaster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
	"longshore/internal/trace"
)

const (
	resolveTime  = 60 * time.Second // for all images of a submit
	resolveWidth = 8                // images at once
)

// resolved is what a reference means now.
type resolved struct {
	image  string
	listen []uint16
}

// submit checks the app, turns its tags into digests and stores it. Each
// submit asks anew what its tags mean: so a newer image is rolled out by
// submitting the same file again.
func (b *Broadcaster) submit(ctx context.Context, app placement.App) (placement.Submitted, error) {
	app, err := b.prepare(ctx, app)
	if err != nil {
		return placement.Submitted{}, err
	}
	var stored placement.Submitted
	above := trace.From(ctx) // what is placed is part of the submit, not of its storing
	err = trace.Run(ctx, "store", func(ctx context.Context) error {
		stored, err = b.deps.Apps.Submit(trace.Into(ctx, above), app)
		return err
	})
	return stored, err
}

// prepare makes an app what can be stored, or says why not.
func (b *Broadcaster) prepare(ctx context.Context, app placement.App) (placement.App, error) {
	app, err := Normalize(app)
	if err != nil {
		return app, err
	}
	var images map[string]resolved
	err = trace.Run(ctx, "resolve images", func(ctx context.Context) error {
		images, err = b.resolve(ctx, app)
		return err
	})
	if err != nil {
		return app, err
	}
	for i := range app.Services {
		r := &app.Services[i].Request
		got := images[r.Image]
		r.Image = got.image
		if err := addListen(r, "service "+app.Services[i].Name, got.listen); err != nil {
			return app, err
		}
	}
	return app, nil
}

// resolve asks for all distinct images of an app side by side.
func (b *Broadcaster) resolve(ctx context.Context, app placement.App) (map[string]resolved, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	var refs, first []string // the references, and the first service of each
	for _, s := range app.Services {
		if !slices.Contains(refs, s.Request.Image) {
			refs, first = append(refs, s.Request.Image), append(first, s.Name)
		}
	}
	found, errs := make([]resolved, len(refs)), make([]error, len(refs))
	var g errgroup.Group
	g.SetLimit(resolveWidth)
	for i, ref := range refs {
		g.Go(func() error {
			found[i].image, found[i].listen, errs[i] = b.deps.Images.Resolve(ctx, app.Owner, ref)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs, so that the first service's is told
	images := map[string]resolved{}
	for i, ref := range refs {
		if errs[i] != nil {
			return nil, imageError(first[i], ref, errs[i])
		}
		images[ref] = found[i]
	}
	return images, nil
}

// imageError says for which service an image could not be found.
func imageError(service, ref string, err error) error {
	if e, ok := errors.AsType[*placement.Error](err); ok {
		return &placement.Error{Kind: e.Kind, What: fmt.Sprintf("service %s: %s", service, e.What), Why: e.Why, Next: cmp.Or(e.Next, "correct image:")}
	}
	return &placement.Error{
		Kind: placement.KindUnavailable,
		What: fmt.Sprintf("service %s: cannot look up image %s", service, ref),
		Why:  err.Error(),
		Next: "try again, or `schedctl image push` the image and name it without a registry",
	}
}
