package vm

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// File is a host file to put into the VM.
type File struct {
	Host  string
	Guest string // absolute
}

// ErrDynamic is the class of a program that needs libraries the VM does not have.
var ErrDynamic = errors.New("is not a static binary")

// CheckStatic reports an ErrDynamic for an ELF program with an interpreter.
func CheckStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // only read
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return fmt.Errorf("%s %w; build it with CGO_ENABLED=0", path, ErrDynamic)
	}
	return nil
}

// image is what an initramfs is made of.
type image struct {
	kernel Kernel
	tools  string // a folder from Store.Tools
	files  []File
	config []byte // for the guest's init
}

// write packs the image as an uncompressed "newc" cpio archive, which the kernel unpacks fastest
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func (m image) write(w io.Writer) error {
	c := packer{Writer: cpio.NewWriter(w), made: map[string]bool{}}
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "root", "etc", "out", "work", "usr/bin", "usr/sbin", "usr/lib"} {
		if err := c.dir(dir); err != nil {
			return err
		}
	}
	for _, top := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := c.link(top, "usr/"+top); err != nil {
			return err
		}
	}
	if err := c.link("usr/sbin/modprobe", "/usr/bin/busybox"); err != nil {
		return err
	}
	for _, applet := range []string{"sh", "cat", "ls", "mount", "dmesg", "sleep", "true", "false", "ping", "ps", "echo", "grep"} {
		if err := c.link("usr/bin/"+applet, "/usr/bin/busybox"); err != nil {
			return err
		}
	}
	if err := c.tree(m.tools, ""); err != nil {
		return err
	}
	if err := c.tree(filepath.Join(m.kernel.Dir, "lib"), "usr/lib"); err != nil {
		return err
	}
	for _, f := range m.files {
		if err := c.file(f.Host, strings.TrimPrefix(f.Guest, "/")); err != nil {
			return err
		}
	}
	if err := c.data("natlab.json", 0o600, int64(len(m.config)), bytes.NewReader(m.config)); err != nil {
		return err
	}
	return c.Close()
}

// packer writes cpio entries and remembers the folders that it made.
type packer struct {
	*cpio.Writer
	made map[string]bool
}

func (c packer) header(name string, mode fs.FileMode, kind cpio.FileMode, size int64) error {
	if err := c.WriteHeader(&cpio.Header{Name: name, Mode: kind | cpio.FileMode(mode.Perm()), Size: size, Links: 1}); err != nil {
		return fmt.Errorf("initramfs: %s: %w", name, err)
	}
	return nil
}

func (c packer) dir(name string) error {
	if name == "." || name == "" || c.made[name] {
		return nil
	}
	if err := c.dir(filepath.Dir(name)); err != nil {
		return err
	}
	c.made[name] = true
	return c.header(name, 0o755, cpio.TypeDir, 0)
}

func (c packer) link(name, target string) error {
	if err := c.dir(filepath.Dir(name)); err != nil {
		return err
	}
	if err := c.header(name, 0o777, cpio.TypeSymlink, int64(len(target))); err != nil {
		return err
	}
	_, err := io.WriteString(c.Writer, target)
	return err
}

func (c packer) data(name string, mode fs.FileMode, size int64, r io.Reader) error {
	if err := c.dir(filepath.Dir(name)); err != nil {
		return err
	}
	if err := c.header(name, mode, cpio.TypeReg, size); err != nil {
		return err
	}
	if _, err := io.Copy(c.Writer, r); err != nil {
		return fmt.Errorf("initramfs: %s: %w", name, err)
	}
	return nil
}

func (c packer) file(host, guest string) error {
	f, err := os.Open(host)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return c.data(guest, info.Mode(), info.Size(), f)
}

// tree packs a folder's files and links below a guest folder.
func (c packer) tree(root, below string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		guest := filepath.Join(below, rel)
		switch {
		case d.IsDir():
			return c.dir(guest)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return c.link(guest, target)
		}
		return c.file(path, guest)
	})
}
