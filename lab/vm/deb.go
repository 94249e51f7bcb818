package vm

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// extract unpacks the files of a .deb that want takes into root. want gets a path without the leading "./" and returns
// the path to write, or "" to pass the file over.
func extract(ctx context.Context, deb, root string, want func(path string) string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("dpkg-deb: %w", err)
	}
	err = untar(tar.NewReader(out), root, want)
	if _, drain := io.Copy(io.Discard, out); err == nil {
		err = drain
	}
	if waited := cmd.Wait(); waited != nil {
		err = errors.Join(err, fmt.Errorf("dpkg-deb %s: %w: %s", deb, waited, strings.TrimSpace(errOut.String())))
	}
	return err
}

func untar(r *tar.Reader, root string, want func(string) string) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		to := want(strings.TrimPrefix(h.Name, "./"))
		if to == "" {
			continue
		}
		if err := writeEntry(h, r, filepath.Join(root, filepath.Clean("/"+to))); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func writeEntry(h *tar.Header, r io.Reader, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, path)
	case tar.TypeReg:
	default:
		return nil
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, h.FileInfo().Mode().Perm()|0o600)
}

// decompressed is a module's ELF image, whichever way Debian packed it.
func decompressed(name string, data []byte) ([]byte, error) {
	switch {
	case strings.HasSuffix(name, ".xz"):
		r, err := xz.NewReader(bytes.NewReader(data), xz.DefaultDictMax)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case strings.HasSuffix(name, ".zst"):
		r, err := zstd.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	return data, nil
}
