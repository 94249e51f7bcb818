package vm

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/therootcompany/xz"
)

// Source returns a folder with the files of a Debian release's source package as its authors released them, without
// Debian's changes; it fetches them unless the Store has them. No program of the package is built or run.
func (s Store) Source(ctx context.Context, releaseName, name string) (string, error) {
	dir := filepath.Join(s.Dir, "sources", releaseName+"_"+name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	for _, r := range releases() {
		if r.name != releaseName {
			continue
		}
		// The release's own packages: no backports, which may be of another version.
		r.suites, r.secured = nil, false
		a := apt{dir: filepath.Join(s.Dir, "apt", r.name+"-sources"), release: r, kind: "deb-src", mirror: s.Mirror, log: s.Log}
		if err := a.prepare(ctx, false); err != nil {
			return "", err
		}
		return dir, a.source(ctx, name, dir)
	}
	return "", fmt.Errorf("source of %s: release %q: want bullseye, bookworm, trixie or sid", name, releaseName)
}

// source downloads a source package and unpacks its authors' files into a folder that takes its name only when it is
// whole.
func (a apt) source(ctx context.Context, name, dir string) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	half, err := os.MkdirTemp(filepath.Dir(dir), ".half-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(half)) }()
	_, _ = fmt.Fprintf(a.log, "fetching the source of %s from Debian %s\n", name, a.release.name)
	if _, err := a.get(ctx, half, "source", "-q", "--download-only", name); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(half, name+"_*.orig.tar.xz"))
	if err != nil {
		return err
	}
	if len(archives) != 1 {
		return fmt.Errorf("the source of %s in Debian %s has %d files *.orig.tar.xz: want one", name, a.release.name, len(archives))
	}
	files := filepath.Join(half, "files")
	if err := unpackArchive(archives[0], files, sourceFile); err != nil {
		return err
	}
	if err := os.Rename(files, dir); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}

// unpackArchive unpacks what want takes of a source archive.
func unpackArchive(archive, dir string, want func(string) string) error {
	f, err := os.Open(archive) // #nosec G304 -- apt wrote it there
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	r, err := xz.NewReader(f, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	if err := untar(tar.NewReader(r), dir, want); err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	return nil
}

// sourceFile takes every file, at its place below the archive's one top folder.
func sourceFile(path string) string {
	_, below, _ := strings.Cut(path, "/")
	return strings.TrimSuffix(below, "/")
}
