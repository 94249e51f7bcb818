package proxy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// Builder makes kube-proxies of releases, by Go and its module proxy, and keeps them. It belongs to one user.
type Builder struct {
	Dir string    // made when missing
	Go  string    // the Go program; "" is the one in PATH
	Log io.Writer // what is being done, a line each, and what Go prints
	// Source is a folder with changed sources of the release's module k8s.io/kubernetes; "" is the release as it is.
	Source string
}

// DefaultDir is the Builder's folder for this user: kube-proxy below NATLAB_CACHE, or below natlab in the user's cache folder.
func DefaultDir() (string, error) {
	if dir := os.Getenv("NATLAB_CACHE"); dir != "" {
		return filepath.Join(dir, "kube-proxy"), nil
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "natlab", "kube-proxy"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/natlab/kube-proxy", nil
	}
	return "", errors.New("no folder to keep kube-proxies in: set NATLAB_CACHE or HOME")
}

// releaseRule is a release of Kubernetes, with its minor version and its patch release.
var releaseRule = regexp.MustCompile(`^v?1\.(\d{1,3}\.\d{1,5}(?:-(?:alpha|beta|rc)\.\d{1,3})?)$`)

// Release reads a patch release, "1.37.2" or "v1.37.2"; false for what is none, such as a program's path.
func Release(text string) (release string, ok bool) {
	m := releaseRule.FindStringSubmatch(text)
	if m == nil {
		return "", false
	}
	return "v1." + m[1], true
}

// Build returns the kube-proxy of a release, and makes it unless it is there. Two at a time wait for each other; one that was not built to
// its end is not there.
func (b Builder) Build(ctx context.Context, release string) (binary string, err error) {
	dir := filepath.Join(b.Dir, release)
	binary = filepath.Join(dir, "kube-proxy")
	if there(binary) {
		return binary, nil
	}
	if err := os.MkdirAll(b.Dir, 0o700); err != nil {
		return "", fmt.Errorf("kube-proxy %s: %w", release, err)
	}
	unlock, err := b.lock(ctx, release)
	if err != nil {
		return "", fmt.Errorf("kube-proxy %s: %w", release, err)
	}
	defer unlock()
	if there(binary) { // another process built it meanwhile
		return binary, nil
	}
	work, err := os.MkdirTemp(b.Dir, "build-"+release+"-")
	if err != nil {
		return "", fmt.Errorf("kube-proxy %s: %w", release, err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // what is left of it is of no use to anybody
	if err := b.build(ctx, release, work); err != nil {
		return "", fmt.Errorf("kube-proxy %s: %w", release, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("kube-proxy %s: %w", release, err)
	}
	return binary, os.Rename(filepath.Join(work, "kube-proxy"), binary)
}

func there(file string) bool {
	st, err := os.Stat(file)
	return err == nil && st.Mode().IsRegular()
}

// lock keeps others from building the same release; the kernel drops it with the process.
func (b Builder) lock(ctx context.Context, release string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(b.Dir, release+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	got := make(chan error, 1)
	go func() { got <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }() // ends with the other's build, or with this process
	select {
	case err := <-got:
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return func() { _ = f.Close() }, nil
	case <-ctx.Done():
		go func() { _ = errors.Join(<-got, f.Close()) }() // the lock, or why there is none: nobody wants it any more
		return nil, fmt.Errorf("another process builds it: %w", context.Cause(ctx))
	}
}

// build makes a module that requires Kubernetes' and nothing else, and builds its kube-proxy.
func (b Builder) build(ctx context.Context, release, work string) error {
	_, _ = fmt.Fprintf(b.Log, "kube-proxy %s is not in %s: it is built, which takes a few minutes\n", release, b.Dir)
	if err := b.Module(ctx, release, work); err != nil {
		return err
	}
	// Old releases reach into the runtime by names that a new linker keeps to itself (-checklinkname).
	version := "-s -w -checklinkname=0 -X k8s.io/component-base/version.gitVersion=" + release + " -X k8s.io/client-go/pkg/version.gitVersion=" + release
	_, err := b.run(ctx, work, "build", "-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags="+version, "-o", "kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy")
	return err
}

// Module writes a go.mod into a directory, which is there, of a module that requires Kubernetes' of a release and nothing else: what that has can be built and tested from there.
func (b Builder) Module(ctx context.Context, release, dir string) error {
	mod, err := b.module(ctx, release, dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "go.mod"), mod, 0o600)
}

// goMod is what `go mod edit -json` prints of a go.mod.
type goMod struct {
	Go      string
	Godebug []struct{ Key, Value string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
}

// module is the text of the go.mod. Only a main module's replacements count, so those of Kubernetes' own are repeated: where it has a folder of
// its repository, the module published of that folder, v0.37.2 for v1.37.2, stands in its place.
func (b Builder) module(ctx context.Context, release, work string) ([]byte, error) {
	const kubernetes = "k8s.io/kubernetes"
	text, err := b.run(ctx, work, "mod", "download", "-json", kubernetes+"@"+release)
	if err != nil {
		return nil, err
	}
	var downloaded struct{ GoMod string }
	if err := json.Unmarshal(text, &downloaded); err != nil {
		return nil, fmt.Errorf("go mod download: %w", err)
	}
	if text, err = b.run(ctx, work, "mod", "edit", "-json", downloaded.GoMod); err != nil {
		return nil, err
	}
	var theirs goMod
	if err := json.Unmarshal(text, &theirs); err != nil {
		return nil, fmt.Errorf("go mod edit: %w", err)
	}
	out := theirs.requiredBy(kubernetes, release)
	if b.Source != "" {
		out = fmt.Appendf(out, "replace %s => %s\n", kubernetes, b.Source)
	}
	return out, nil
}

// requiredBy is a go.mod that builds what a module of this go.mod has.
func (m goMod) requiredBy(module, release string) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "module natlab.invalid/kube-proxy\n\ngo %s\n\nrequire %s %s\n", m.Go, module, release)
	for _, d := range m.Godebug {
		fmt.Fprintf(&out, "godebug %s=%s\n", d.Key, d.Value)
	}
	published := "v0" + strings.TrimPrefix(release, "v1")
	for _, r := range m.Replace {
		old, path, version := r.Old.Path, r.New.Path, r.New.Version
		if r.Old.Version != "" {
			old += " " + r.Old.Version
		}
		if strings.HasPrefix(path, "./staging/") {
			path, version = r.Old.Path, published
		}
		fmt.Fprintf(&out, "replace %s => %s %s\n", old, path, version)
	}
	return out.Bytes()
}

// run runs Go, and returns what it prints on its standard output.
func (b Builder) run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	name := b.Go
	if name == "" {
		name = "go"
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, io.MultiWriter(&errs, b.Log)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GO111MODULE=on")
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: install Go, or give the path of a kube-proxy", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, cmp.Or(lastLine(errs.String()), inObject(out.Bytes())))
	}
	return out.Bytes(), nil
}

// inObject is the error that `go mod download -json` tells in what it prints, and nowhere else; "" where there is none.
func inObject(printed []byte) string {
	var told struct{ Error string }
	if json.Unmarshal(printed, &told) != nil {
		return ""
	}
	return strings.Join(strings.Fields(told.Error), " ")
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
