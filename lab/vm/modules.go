package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// module is what modprobe has to know of a kernel module: what depmod reads from its .modinfo section.
type module struct {
	path    string // below lib/modules/VERSION
	name    string
	depends []string
	aliases []string
}

// wantedModule reports whether a lab can use a module, by its path below lib/modules/VERSION: networking, the devices
// that a lab makes, and the library modules they stand on. A cloud kernel's other drivers stay out of the image.
func wantedModule(path string) bool {
	for _, dir := range []string{
		"kernel/net/802/", "kernel/net/bridge/", "kernel/net/core/", "kernel/net/ipv4/", "kernel/net/ipv6/", "kernel/net/llc/",
		"kernel/net/netfilter/", "kernel/net/sched/", "kernel/net/sctp/", "kernel/lib/", "kernel/crypto/crc32", "kernel/arch/x86/crypto/crc32",
		"kernel/drivers/net/vxlan", "kernel/drivers/net/macvlan",
	} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	base, _, _ := strings.Cut(filepath.Base(path), ".")
	switch base {
	case "veth", "tun", "dummy", "ifb", "vrf", "stp", "failover", "crc32c-intel", "virtio_rng":
		return strings.HasPrefix(path, "kernel/drivers/") || strings.HasPrefix(path, "kernel/net/") || strings.HasPrefix(path, "kernel/arch/")
	}
	return false
}

// readModule reads the .modinfo section of a module's ELF image.
func readModule(path string, image []byte) (module, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return module{}, fmt.Errorf("module %s: %w", path, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return module{}, fmt.Errorf("module %s: no .modinfo section", path)
	}
	info, err := section.Data()
	if err != nil {
		return module{}, fmt.Errorf("module %s: %w", path, err)
	}
	base, _, _ := strings.Cut(filepath.Base(path), ".")
	m := module{path: path, name: moduleName(base)}
	for field := range strings.SplitSeq(string(info), "\x00") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "alias":
			m.aliases = append(m.aliases, value)
		case "depends":
			for _, d := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' }) {
				m.depends = append(m.depends, moduleName(d))
			}
		}
	}
	return m, nil
}

// moduleName is a module's name as the kernel has it: dashes are underscores.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// moduleSet is the modules of a kernel by name.
type moduleSet map[string]module

// closure lists what a module needs, directly or not, each before what it needs itself: the order of modules.dep.
func (s moduleSet) closure(name string) []string {
	var order []string // in which they can be loaded
	seen := map[string]bool{name: true}
	var visit func(string)
	visit = func(n string) {
		for _, d := range s[n].depends {
			if _, have := s[d]; have && !seen[d] {
				seen[d] = true
				visit(d)
				order = append(order, d)
			}
		}
	}
	visit(name)
	slices.Reverse(order)
	return order
}

func (s moduleSet) names() []string {
	names := make([]string, 0, len(s))
	for n := range s {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// depText is modules.dep as depmod writes it; a lone "a.ko: b.ko c.ko" line a module.
func (s moduleSet) depText() string {
	var b strings.Builder
	for _, n := range s.names() {
		b.WriteString(s[n].path + ":")
		for _, d := range s.closure(n) {
			b.WriteString(" " + s[d].path)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// aliasText is modules.alias as depmod writes it.
func (s moduleSet) aliasText() string {
	var b strings.Builder
	for _, n := range s.names() {
		for _, a := range s[n].aliases {
			fmt.Fprintf(&b, "alias %s %s\n", a, n)
		}
	}
	return b.String()
}

// indexModules unpacks every module below dir in place, and writes modules.dep and modules.alias, which Debian leaves
// to depmod at installation.
func indexModules(dir string) error {
	set := moduleSet{}
	err := filepath.WalkDir(filepath.Join(dir, "kernel"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		image, err := decompressed(path, data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		plain := strings.TrimSuffix(strings.TrimSuffix(path, ".xz"), ".zst")
		rel, err := filepath.Rel(dir, plain)
		if err != nil {
			return err
		}
		m, err := readModule(rel, image)
		if err != nil {
			return err
		}
		set[m.name] = m
		if plain == path {
			return nil
		}
		if err := os.WriteFile(plain, image, 0o644); err != nil {
			return err
		}
		return os.Remove(path)
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(set.depText()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "modules.alias"), []byte(set.aliasText()), 0o644)
}
