package images

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"longshore/internal/placement"
)

// Binary says how an image FROM scratch runs its one program.
type Binary struct {
	Dest   string   // where the program lies in the image; "": "/" and the name of its file
	Args   []string // arguments that a service's command replaces (Docker's CMD)
	Env    []string // "NAME=value"
	Expose []uint16 // TCP ports that it listens on
	User   string   // "uid" or "uid:gid"; "": root of its container
}

// Image is an image in memory, ready to be pushed.
type Image struct{ image v1.Image }

// FromBinary makes an image out of one static Linux program. The same program
// and the same Binary always give the same digest.
func FromBinary(file string, b Binary) (*Image, error) {
	arch, err := staticArch(file)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	if b.Dest == "" {
		b.Dest = "/" + path.Base(file)
	}
	dest := path.Clean("/" + b.Dest)
	files, err := layerOf(dest, content)
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil }, tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "COPY " + dest, Comment: "longshore"}})
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config = v1.Config{Entrypoint: []string{dest}, Cmd: b.Args, Env: b.Env, User: b.User, WorkingDir: "/", ExposedPorts: map[string]struct{}{}}
	for _, p := range b.Expose {
		config.Config.ExposedPorts[strconv.Itoa(int(p))+"/tcp"] = struct{}{}
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	return &Image{image: image}, nil
}

// layerOf is a tar with the program and the directories above it. Its times
// are all the same, so that the same program makes the same layer.
func layerOf(dest string, content []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	name := strings.TrimPrefix(dest, "/")
	for i, c := range name {
		if c == '/' {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name[:i+1], Mode: 0o755, Format: tar.FormatUSTAR}); err != nil {
				return nil, err
			}
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content)), Format: tar.FormatUSTAR}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// staticArch is Docker's word for the architecture of the program, which must
// need nothing else to run.
func staticArch(file string) (string, error) {
	bad := func(why, next string) error {
		return &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf("%s cannot be an image by itself", file), Why: why, Next: next}
	}
	f, err := elf.Open(file)
	if err != nil {
		return "", bad(err.Error(), "give a static Linux program")
	}
	defer func() { _ = f.Close() }() // only read
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", bad("it needs a dynamic loader, which an image FROM scratch does not have", "build it with CGO_ENABLED=0, or link it with -static")
		}
	}
	arch, known := map[elf.Machine]string{
		elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_386: "386", elf.EM_ARM: "arm",
		elf.EM_RISCV: "riscv64", elf.EM_PPC64: "ppc64le", elf.EM_S390: "s390x",
	}[f.Machine]
	if !known {
		return "", bad(fmt.Sprintf("it is a program for %s", f.Machine), "give a static Linux program")
	}
	return arch, nil
}

// Digest is the image's digest.
func (i *Image) Digest() (string, error) {
	h, err := i.image.Digest()
	return h.String(), err
}

// Push pushes the image under the owner's name for tag, as [PushTar] does.
func (i *Image) Push(ctx context.Context, to Destination, tag string, progress Progress) (digest string, err error) {
	ref, err := to.reference(tag)
	if err != nil {
		return "", err
	}
	return to.push(ctx, ref, i.image, progress)
}
