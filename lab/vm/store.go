package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Store keeps what was fetched: kernels with their modules, iptables with its libraries, and sources. It belongs to one user;
// once a kernel is in it, neither root nor the mirror is asked for.
type Store struct {
	Dir    string    // made when missing
	Log    io.Writer // one line a download; io.Discard for none
	Mirror Mirror    // the zero value stands for what the machine's apt is set to
}

// DefaultDir is the Store's folder for this user: NATLAB_CACHE, or natlab/vm below the user's cache folder.
func DefaultDir() (string, error) {
	if dir := os.Getenv("NATLAB_CACHE"); dir != "" {
		return filepath.Join(dir, "vm"), nil
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "natlab", "vm"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/natlab/vm", nil
	}
	return "", errors.New("no folder to keep kernels in: set NATLAB_CACHE or HOME")
}

// DefaultStore is this user's Store, with the mirror that the environment names.
func DefaultStore(log io.Writer) (Store, error) {
	dir, err := DefaultDir()
	if err != nil {
		return Store{}, err
	}
	mirror, err := ParseMirror(os.Getenv(MirrorVariable))
	if err != nil {
		return Store{}, fmt.Errorf("%s: %w", MirrorVariable, err)
	}
	return Store{Dir: dir, Log: log, Mirror: mirror}, nil
}

// Kernel is a kernel in the Store.
type Kernel struct {
	Release string // "bookworm"
	Version string // "6.1.0-56", as `uname -r` has it but for "-cloud-amd64"
	Dir     string // holds vmlinuz and lib/modules/VERSION-cloud-amd64
}

// ErrNoKernel is the class of a Spec that no release has a kernel for.
var ErrNoKernel = errors.New("no such kernel")

// Kernel finds the newest kernel that a Spec names, and fetches it unless the Store has it. With refresh the package
// lists are fetched anew, so that "newest" is today's.
func (s Store) Kernel(ctx context.Context, spec Spec, refresh bool) (Kernel, error) {
	return s.newest(ctx, "kernel", "cloud kernels", spec, refresh, s.fromRelease)
}

// newest is the kernel that the first of a Spec's releases has, and notes which it was. The kind is what a note's name begins with; among are Debian's packages that
// kernels of that kind come of.
func (s Store) newest(ctx context.Context, kind, among string, spec Spec, refresh bool, from func(context.Context, release, Spec, bool) (Kernel, error)) (Kernel, error) {
	pin := filepath.Join(s.Dir, "resolved", kind+"-"+strings.ReplaceAll(spec.String(), "/", "_"))
	if !refresh {
		if k, ok := s.pinned(pin); ok {
			return k, nil
		}
	}
	for _, r := range spec.candidates() {
		k, err := from(ctx, r, spec, refresh)
		if errors.Is(err, ErrNoKernel) {
			continue
		}
		if err != nil {
			return Kernel{}, err
		}
		return k, writeFile(pin, filepath.Base(k.Dir))
	}
	return Kernel{}, noKernel(spec, among)
}

// noKernel tells of a kernel that no release has, and which ones there are.
func noKernel(spec Spec, among string) error {
	return fmt.Errorf("kernel %s: %w among Debian's %s; there are %s", spec, ErrNoKernel, among, strings.Join(Kernels(), ", "))
}

func (s Store) pinned(pin string) (Kernel, bool) {
	name, err := os.ReadFile(pin)
	if err != nil {
		return Kernel{}, false
	}
	release, version, _ := strings.Cut(string(name), "_")
	k := Kernel{Release: release, Version: version, Dir: filepath.Join(s.Dir, "kernels", string(name))}
	_, err = os.Stat(filepath.Join(k.Dir, "vmlinuz"))
	return k, err == nil
}

func (s Store) apt(r release) apt {
	return apt{dir: filepath.Join(s.Dir, "apt", r.name), release: r, kind: "deb", mirror: s.Mirror, log: s.Log}
}

func (s Store) fromRelease(ctx context.Context, r release, spec Spec, refresh bool) (Kernel, error) {
	a := s.apt(r)
	if err := a.prepare(ctx, refresh); err != nil {
		return Kernel{}, err
	}
	all, err := a.kernels(ctx)
	if err != nil {
		return Kernel{}, err
	}
	want := spec
	if want.Version == "" && len(r.prefer) > 0 {
		want.Version = r.prefer[0]
	}
	for _, found := range slices.Backward(all) {
		if want.matches(found.version) {
			return s.fetchKernel(ctx, a, found)
		}
	}
	return Kernel{}, fmt.Errorf("kernel %s in Debian %s: %w", spec, r.name, ErrNoKernel)
}

// fetchKernel downloads and unpacks into a folder of its own that takes its name only when it is whole.
func (s Store) fetchKernel(ctx context.Context, a apt, p kernelPackages) (Kernel, error) {
	k := Kernel{Release: a.release.name, Version: p.version, Dir: filepath.Join(s.Dir, "kernels", a.release.name+"_"+p.version)}
	if _, err := os.Stat(filepath.Join(k.Dir, "vmlinuz")); err == nil {
		return k, nil
	}
	return k, s.unpack(ctx, a, k.Dir, p.packages, kernelFile, func(dir string) error {
		return indexModules(filepath.Join(dir, "lib/modules", p.version+"-cloud-amd64"))
	})
}

// unpack downloads packages, extracts what want takes into a new folder, runs finish on it and renames it to dir.
func (s Store) unpack(ctx context.Context, a apt, dir string, packages []string, want func(string) string, finish func(string) error) (err error) {
	downloads, debs, err := a.download(ctx, packages...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(downloads)) }()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	half, err := os.MkdirTemp(filepath.Dir(dir), ".half-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(half)) }()
	for _, deb := range debs {
		if err := extract(ctx, deb, half, want); err != nil {
			return err
		}
	}
	if err := finish(half); err != nil {
		return err
	}
	if err := os.Rename(half, dir); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}

// kernelFile takes the image and the modules that a lab can use.
func kernelFile(path string) string {
	path = strings.TrimPrefix(path, "usr/")
	if strings.HasPrefix(path, "boot/vmlinuz-") {
		return "vmlinuz"
	}
	rest, ok := strings.CutPrefix(path, "lib/modules/")
	if !ok {
		return ""
	}
	version, file, _ := strings.Cut(rest, "/")
	switch {
	case file == "vmlinuz":
		return "vmlinuz"
	case file == "modules.builtin", wantedModule(file):
		return "lib/modules/" + version + "/" + file
	}
	return ""
}

// toolPackages are what a VM has besides natlab.
var toolPackages = []string{"iptables", "iproute2", "ipset", "nftables", "busybox-static"}

// Tools returns a folder with the iptables of a Debian release, nft, ip, their libraries and busybox, laid out as a root file
// system with merged /usr; it fetches them unless the Store has them.
func (s Store) Tools(ctx context.Context, releaseName string) (string, error) {
	dir := filepath.Join(s.Dir, "tools", releaseName+"_"+strings.Join(toolPackages, "_"))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	for _, r := range releases() {
		if r.name != releaseName {
			continue
		}
		a := s.apt(r)
		if err := a.prepare(ctx, false); err != nil {
			return "", err
		}
		packages, err := a.closure(ctx, toolPackages...)
		if err != nil {
			return "", err
		}
		return dir, s.unpack(ctx, a, dir, packages, toolFile, linkIptables)
	}
	return "", fmt.Errorf("iptables %q: want a Debian release: bullseye, bookworm, trixie, sid", releaseName)
}

// toolFile takes programs and shared libraries, at their merged-/usr place.
func toolFile(path string) string {
	for _, top := range []string{"bin/", "sbin/", "lib/", "lib64/"} {
		if strings.HasPrefix(path, top) {
			path = "usr/" + path
		}
	}
	base := filepath.Base(path)
	switch {
	case path == "etc/protocols", path == "etc/services":
		return path
	case strings.HasPrefix(path, "usr/sbin/") && strings.Contains(base, "tables"), path == "usr/sbin/ipset", path == "usr/sbin/nft", path == "usr/bin/busybox", path == "usr/bin/ip":
		return path
	case strings.Contains(path, "/gconv/"), strings.Contains(path, "/audit/"):
		return ""
	case strings.HasPrefix(path, "usr/lib") && strings.Contains(base, ".so"):
		return path
	}
	return ""
}

// linkIptables makes the plain names that update-alternatives would make, for the nft backend as Debian has it.
func linkIptables(dir string) error {
	for _, f := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			err := os.Symlink(f+"-nft"+suffix, filepath.Join(dir, "usr/sbin", f+suffix))
			if err != nil && !os.IsExist(err) {
				return err
			}
		}
	}
	return nil
}

func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
