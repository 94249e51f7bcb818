package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// apt asks the machine's own mirrors for another release's packages, with lists, cache and sources that are natlab's:
// the machine's apt set-up is read and never written. It needs no root.
type apt struct {
	dir     string // natlab's, one a release and kind
	release release
	kind    string // of packages: "deb", or "deb-src" for sources
	mirror  Mirror // in place of the machine's
	log     io.Writer
}

// prepare writes the sources and fetches the lists, once; refresh fetches them again, and so does a mirror that is not the one they are of.
func (a apt) prepare(ctx context.Context, refresh bool) error {
	if !refresh && a.prepared() {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return ErrNoApt
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	unlock, err := a.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if !refresh && a.prepared() { // by whoever had the lock
		return nil
	}
	sources, err := a.sources(ctx)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"sources.list": sources, "status": ""} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(a.log, "fetching the package lists of Debian %s\n", a.release.name)
	if _, err := a.get(ctx, "", "update", "-q"); err != nil {
		return err
	}
	return os.WriteFile(a.stamp(), nil, 0o644)
}

func (a apt) stamp() string { return filepath.Join(a.dir, "updated") }

// prepared reports whether the lists are there, of the mirror that is wanted.
func (a apt) prepared() bool {
	_, err := os.Stat(a.stamp())
	return err == nil && (a.mirror == Mirror{} || a.of(a.mirror))
}

// lock waits until nobody else fetches these lists: apt itself does not wait, and fails.
func (a apt) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(a.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	done := func() { _ = f.Close() } // which unlocks it
	got := make(chan error)
	go func() {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		select {
		case got <- err:
		case <-ctx.Done():
			done()
		}
	}()
	select {
	case err := <-got:
		if err != nil {
			done()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return done, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// of reports whether the sources that were written are those of a mirror.
func (a apt) of(m Mirror) bool {
	have, err := os.ReadFile(filepath.Join(a.dir, "sources.list"))
	return err == nil && string(have) == a.lines(m)
}

// sources is a sources.list for the release on the mirror that natlab was told, or else on those that the machine's apt is set to.
func (a apt) sources(ctx context.Context) (string, error) {
	if a.mirror != (Mirror{}) {
		if _, err := os.Stat(debianKeyring); err != nil {
			return "", fmt.Errorf("%w to check what %s has: install debian-archive-keyring, which Fedora calls debian-keyring", ErrNoKeyring, a.mirror.Main)
		}
		return a.lines(a.mirror), nil
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("apt-get indextargets: %w", err)
	}
	m := debianMirrors(string(out))
	if m.Main == "" {
		return "", fmt.Errorf("%w in this machine's apt sources: name one by --mirror or %s", ErrNoMirror, MirrorVariable)
	}
	return a.lines(m), nil
}

// lines are the sources of the release on a mirror.
func (a apt) lines(m Mirror) string {
	options := ""
	if _, err := os.Stat(debianKeyring); err == nil {
		options = "[signed-by=" + debianKeyring + "] "
	}
	var b strings.Builder
	for _, suite := range append([]string{a.release.name}, a.release.suites...) {
		fmt.Fprintf(&b, "%s %s%s %s main\n", a.kind, options, m.Main, suite)
	}
	if a.release.secured && m.Security != "" {
		fmt.Fprintf(&b, "%s %s%s %s-security main\n", a.kind, options, m.Security, a.release.name)
	}
	return b.String()
}

// debianMirrors picks from lines of "SITE RELEASE" the first site of a Debian release and that of its security suite.
func debianMirrors(targets string) (m Mirror) {
	known := map[string]bool{"stable": true, "testing": true, "unstable": true, "oldstable": true, "forky": true}
	for _, r := range releases() {
		known[r.name] = true
	}
	for line := range strings.Lines(targets) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		switch base, isSecurity := strings.CutSuffix(f[1], "-security"); {
		case isSecurity && known[base] && m.Security == "":
			m.Security = f[0]
		case known[f[1]] && m.Main == "":
			m.Main = f[0]
		}
	}
	return m
}

func (a apt) options() []string {
	at := func(name string) string { return filepath.Join(a.dir, name) }
	return []string{
		"-o", "Dir::Etc::sourcelist=" + at("sources.list"), "-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Dir::State::lists=" + at("lists"), "-o", "Dir::State::status=" + at("status"),
		"-o", "Dir::State=" + a.dir, "-o", "Dir::Cache=" + at("cache"),
		"-o", "APT::Sandbox::User=", "-o", "APT::Default-Release=", "-o", "Acquire::Languages=none",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"-o", "Acquire::AllowInsecureRepositories=false", "-o", "APT::Get::AllowUnauthenticated=false", // whatever the machine's apt allows
		"-o", "APT::Architecture=amd64", "-o", "APT::Architectures::=amd64",
	}
}

func (a apt) get(ctx context.Context, dir string, args ...string) (string, error) {
	return a.run(ctx, dir, "apt-get", args)
}

func (a apt) run(ctx context.Context, dir, program string, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, program, append(a.options(), args...)...)
	cmd.Dir = dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s for Debian %s: %w%s\n%s", program, strings.Join(args, " "), a.release.name, err, a.oldKeys(errOut.String()), strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// oldKeys is what to do where apt does not know a key that Debian signs with: Ubuntu's package of the keys is not renewed after its release.
func (a apt) oldKeys(told string) string {
	if !strings.Contains(told, "NO_PUBKEY") {
		return ""
	}
	return fmt.Sprintf(": %s is older than the keys of Debian %s: install the package debian-archive-keyring that Debian %s itself has", debianKeyring, a.release.name, a.release.name)
}

// kernels lists the cloud kernel versions that the release has, oldest first, with the packages each needs.
func (a apt) kernels(ctx context.Context) ([]kernelPackages, error) {
	out, err := a.run(ctx, "", "apt-cache", []string{"pkgnames", "linux-"})
	if err != nil {
		return nil, err
	}
	return cloudKernels(strings.Fields(out)), nil
}

// kernelPackages is a kernel version and the packages that hold its image and its modules.
type kernelPackages struct {
	version  string // "6.1.0-56"
	packages []string
}

// cloudKernels finds the cloud kernels among package names. Up to 6.12 one package holds image and modules; since 7
// they are two.
func cloudKernels(names []string) []kernelPackages {
	have := make(map[string]bool, len(names))
	for _, n := range names {
		have[n] = true
	}
	var found []kernelPackages
	for _, n := range names {
		if v, ok := between(n, "linux-binary-", "-cloud-amd64"); ok && !strings.HasPrefix(v, "unsigned-") {
			if modules := "linux-modules-" + v + "-cloud-amd64"; have[modules] {
				found = append(found, kernelPackages{v, []string{n, modules}})
			}
		}
		if v, ok := between(n, "linux-image-", "-cloud-amd64"); ok && strings.Count(v, ".") > 1 && !have["linux-binary-"+v+"-cloud-amd64"] {
			found = append(found, kernelPackages{v, []string{n}})
		}
	}
	sort.Slice(found, func(i, j int) bool { return versionLess(found[i].version, found[j].version) })
	return found
}

func between(s, prefix, suffix string) (string, bool) {
	s, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(s, suffix)
}

// download fetches packages and returns the .deb files, in a fresh folder that the caller removes.
func (a apt) download(ctx context.Context, packages ...string) (dir string, debs []string, err error) {
	dir, err = os.MkdirTemp(a.dir, "download-")
	if err != nil {
		return "", nil, err
	}
	_, _ = fmt.Fprintf(a.log, "fetching %s from Debian %s\n", strings.Join(packages, " "), a.release.name)
	if _, err := a.get(ctx, dir, append([]string{"download", "-q"}, packages...)...); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	debs, err = filepath.Glob(filepath.Join(dir, "*.deb"))
	return dir, debs, err
}

// closure lists a package and all that it depends on, as apt would install them on an empty machine.
func (a apt) closure(ctx context.Context, packages ...string) ([]string, error) {
	out, err := a.get(ctx, "", append([]string{"install", "-y", "--no-install-recommends", "--print-uris", "-q"}, packages...)...)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(line, "'") {
			name, _, _ := strings.Cut(f[1], "_")
			names = append(names, name)
		}
	}
	return names, nil
}
