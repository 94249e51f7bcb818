package vm

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// UserMode finds the newest Linux that a Spec names among Debian's sources, and builds it as a program of this machine (ARCH=um) unless the Store has it:
// it takes a compiler some minutes. With refresh the package lists are fetched anew.
func (s Store) UserMode(ctx context.Context, spec Spec, refresh bool) (Kernel, error) {
	return s.newest(ctx, "usermode", "sources", spec, refresh, s.builtFrom)
}

// builtFrom builds the newest source of a release that a Spec names.
func (s Store) builtFrom(ctx context.Context, r release, spec Spec, refresh bool) (Kernel, error) {
	for _, program := range []string{"make", "gcc", "flex", "bison", "bc"} {
		if _, err := exec.LookPath(program); err != nil {
			return Kernel{}, fmt.Errorf("kernel %s as a program: %s is not installed; it is built by make, gcc, flex, bison and bc", spec, program)
		}
	}
	a := s.apt(r)
	if err := a.prepare(ctx, refresh); err != nil {
		return Kernel{}, err
	}
	names, err := a.run(ctx, "", "apt-cache", []string{"pkgnames", "linux-source-"})
	if err != nil {
		return Kernel{}, err
	}
	if spec.Version == "" && len(r.prefer) > 0 {
		spec.Version = r.prefer[0]
	}
	series := ""
	for name := range strings.FieldsSeq(names) {
		version := strings.TrimPrefix(name, "linux-source-")
		if spec.matches(version) && (series == "" || versionLess(series, version)) {
			series = version
		}
	}
	if series == "" {
		return Kernel{}, fmt.Errorf("source of kernel %s in Debian %s: %w", spec, r.name, ErrNoKernel)
	}
	work, err := os.MkdirTemp(s.Dir, ".build-")
	if err != nil {
		return Kernel{}, err
	}
	k, err := s.build(ctx, a, series, work)
	return k, errors.Join(err, os.RemoveAll(work))
}

// build fetches the source of a series, "6.12", into a folder and builds it there. What the Store keeps is what a Kernel of Debian's has: the image, and a
// list of its modules, which are none.
func (s Store) build(ctx context.Context, a apt, series, work string) (k Kernel, err error) {
	files := filepath.Join(work, "source")
	err = s.unpack(ctx, a, filepath.Join(work, "package"), []string{"linux-source-" + series}, sourceArchive, func(dir string) error {
		return unpackArchive(filepath.Join(dir, "linux.tar.xz"), files, builtFile)
	})
	if err != nil {
		return k, err
	}
	wanted, err := userModeConfig(os.DirFS(files))
	if err == nil {
		err = os.WriteFile(filepath.Join(work, "wanted"), []byte(wanted), 0o600)
	}
	if err != nil {
		return k, err
	}
	_, _ = fmt.Fprintf(s.Log, "building Linux %s as a program, for some minutes\n", series)
	made := ""
	for _, args := range [][]string{
		{"KCONFIG_ALLCONFIG=" + filepath.Join(work, "wanted"), "allnoconfig"},
		{"-j" + strconv.Itoa(runtime.NumCPU()), "linux"},
		{"--no-print-directory", "-s", "kernelrelease"},
	} {
		if made, err = runMake(ctx, files, args...); err != nil {
			return k, err
		}
	}
	version := strings.TrimSpace(made)
	k = Kernel{Release: a.release.name, Version: version, Dir: filepath.Join(s.Dir, "kernels", a.release.name+"_"+version)}
	half := filepath.Join(work, "kernel")
	err = errors.Join(os.MkdirAll(filepath.Dir(k.Dir), 0o755), writeFile(filepath.Join(half, "lib/modules", version, "modules.dep"), ""), os.Rename(filepath.Join(files, "linux"), filepath.Join(half, "vmlinuz")))
	if err != nil {
		return k, err
	}
	if err := os.Rename(half, k.Dir); err != nil && !os.IsExist(err) {
		return k, err
	}
	return k, nil
}

// runMake runs the kernel's own make for the machine that is a program.
func runMake(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "make", append([]string{"ARCH=um", "LOCALVERSION=-um"}, args...)...) //nolint:gosec // the arguments are ours
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // and the compilers that it started
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		end := tail{}
		_, _ = end.Write(errOut.Bytes())
		return "", fmt.Errorf("make %s: %w\n%s", strings.Join(args, " "), err, end.lastLines(20))
	}
	return out.String(), nil
}

// sourceArchive takes the one archive that a package linux-source-VERSION is.
func sourceArchive(path string) string {
	if strings.HasSuffix(path, ".tar.xz") {
		return "linux.tar.xz"
	}
	return ""
}

// builtFile takes what a build for ARCH=um reads of Linux: no other processor's code, no drivers' but of the network and of what is always built, no documentation
// but the file that the configuration reads.
func builtFile(path string) string {
	path = sourceFile(path)
	code := slices.Contains([]string{".c", ".h", ".S", ".dts", ".dtsi"}, filepath.Ext(path))
	top, below, _ := strings.Cut(path, "/")
	part, deeper, _ := strings.Cut(below, "/")
	switch {
	case top == "Documentation" && deeper != "", top == "tools" && (part == "testing" || part == "perf"):
		return ""
	case top == "arch" && part != "um" && part != "x86" && code:
		return ""
	case code && top == "drivers" && slices.Contains([]string{"gpu", "media", "staging", "scsi", "infiniband", "iio"}, part), code && top == "sound":
		return ""
	}
	return path
}

//go:embed usermode.config
var userModeBase string

// symbol is how Kconfig begins one.
var symbol = regexp.MustCompile(`(?m)^(?:menu)?config\s+(\w+)$`)

// unwanted are symbols of netfilter that want a device or another part of Linux that the program does not have, or trackers that nobody asks for.
var unwanted = regexp.MustCompile(`_(SIP|H323|AMANDA|SNMP|NETBIOS_NS|SANE|IRC|IDLETIMER|SNMP_BASIC|CLUSTERIP|RATEEST|LED|SECMARK|CONNSECMARK|AUDIT|BPF|OSF|FLOW_TABLE_PROCFS|FLOW_OFFLOAD)$|^IP_SET_MAX$|^GCOV`)

// userModeConfig is what a configuration without anything is to have: what a lab uses, and all of netfilter that the source has.
func userModeConfig(source fs.FS) (string, error) {
	var b strings.Builder
	b.WriteString(userModeBase)
	for _, dir := range []string{"net/netfilter", "net/ipv4/netfilter", "net/ipv6/netfilter", "net/netfilter/ipset", "net/bridge/netfilter"} {
		text, err := fs.ReadFile(source, dir+"/Kconfig")
		if err != nil {
			return "", err
		}
		for _, m := range symbol.FindAllSubmatch(text, -1) {
			if !unwanted.Match(m[1]) {
				fmt.Fprintf(&b, "CONFIG_%s=y\n", m[1])
			}
		}
	}
	return b.String(), nil
}
