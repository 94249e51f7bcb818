package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"natlab/lab/proxy"
	"natlab/lab/vm"
)

func (p *program) vm() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vm run [--kernel SPEC]... -- COMMAND",
		Short: "Run natlab, or a test binary, on another kernel in a VM",
		Args: func(cmd *cobra.Command, _ []string) error {
			return usage(cmd, errors.New("no command given: want vm run"))
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	run := p.vmRun()
	run.DisableFlagsInUseLine = true
	cmd.AddCommand(run)
	return cmd
}

// vmFlags are what the flags of vm run ask for.
type vmFlags struct {
	kernels, files []string
	config         vm.Config
	mirror         string
	accel          *choice
	console        bool
}

func (p *program) vmRun() *cobra.Command {
	v := vmFlags{accel: &choice{value: "auto", words: []string{"auto", "kvm", "tcg", "uml"}}}
	cmd := &cobra.Command{
		Use:   "run [--kernel SPEC]... [--iptables RELEASE] [--out DIR] -- natlab ARGS... | TEST-BINARY ARGS...",
		Short: "Boot Debian's kernels one after the other and run a command on each",
		Long: `Boot a Debian cloud kernel under qemu with natlab in a small initramfs, run a command there, and bring back its
output, its exit status and the files it leaves in /out. The VM has no network and no disk. Packages come by apt from
the mirror of Debian that --mirror names, or $NATLAB_MIRROR, or this machine's apt, and Debian's signatures are checked;
they are kept, in $NATLAB_CACHE/vm or else below the user's cache directory, and a kernel that is kept needs neither root
nor the mirror.

A SPEC is a Debian release (bullseye, bookworm, trixie, sid), a version (5.10, 6.1, 6.12, 7.x) or RELEASE/VERSION.
The command is natlab, a static program of this machine (CGO_ENABLED=0 go test -c), or one of busybox. Arguments that
name files are taken along, and so are the releases that --kube-proxy names, built here.

Exit status: the command's; with several kernels the worst; 2 where a VM failed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, errors.New("no command given: it stands after --, such as -- natlab verify"))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&v.kernels, "kernel", []string{"bookworm"}, "the kernel to boot; may be given several times")
	f.StringVar(&v.config.Iptables, "iptables", "", "the Debian release whose iptables to take (default: the kernel's)")
	f.StringArrayVar(&v.files, "file", nil, "another file to take along; may be given several times")
	f.StringVar(&v.config.Out, "out", "", "a folder for the files that the command leaves in /out")
	f.DurationVar(&v.config.Timeout, "timeout", 10*time.Minute, "how long the command may take")
	f.IntVar(&v.config.MemoryMiB, "memory", 1536, "the VM's memory in MiB")
	f.Var(v.accel, "accel", "how it is run; auto takes KVM where a probe boot with it works, else qemu emulates it; with uml the kernel is a program, built here of its source")
	f.StringVar(&v.mirror, "mirror", "", "`URL[,URL]` of a mirror of Debian, and of its security suites (default: $NATLAB_MIRROR, or what this machine's apt is set to)")
	f.BoolVar(&v.config.Refresh, "refresh", false, "fetch the package lists anew, and with them newer kernels")
	f.BoolVar(&v.console, "console", false, "show the kernel's console on standard error")
	f.SetInterspersed(false)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return p.runVM(cmd, v, args) }
	return cmd
}

func (p *program) runVM(cmd *cobra.Command, v vmFlags, args []string) error {
	specs := make([]vm.Spec, len(v.kernels))
	for i, k := range v.kernels {
		var err error
		if specs[i], err = vm.ParseSpec(k); err != nil {
			return usage(cmd, err)
		}
	}
	mirror, err := vm.ParseMirror(v.mirror)
	if err != nil {
		return usage(cmd, fmt.Errorf("--mirror %w", err))
	}
	c, err := p.vmConfig(cmd.Context(), v, args)
	if err != nil {
		return err
	}
	if v.mirror != "" {
		c.Store.Mirror = mirror
	}
	worst := exitOK
	for _, spec := range specs {
		if len(specs) > 1 {
			p.logf("kernel %s", spec)
		}
		c.Kernel = spec
		status, err := vm.Run(cmd.Context(), c)
		if err != nil {
			return err
		}
		if status != exitOK && len(specs) > 1 {
			p.logf("kernel %s: %s ended with status %d", spec, args[0], status)
		}
		worst = max(worst, status)
	}
	if worst != exitOK {
		return exitStatus(worst)
	}
	return nil
}

// vmConfig finds natlab itself, the command, and the files that it names.
func (p *program) vmConfig(ctx context.Context, v vmFlags, args []string) (vm.Config, error) {
	c := v.config
	var err error
	if c.Store, err = vm.DefaultStore(p.err); err != nil {
		return c, err
	}
	if c.Natlab, err = os.Executable(); err != nil {
		return c, err
	}
	c.Stdout, c.Stderr, c.Argv = p.out, p.err, append([]string(nil), args...)
	if c.Files, err = p.proxiesNamed(ctx, args); err != nil {
		return c, err
	}
	if v.console {
		c.Console = p.err
	}
	if v.accel.value != "auto" {
		c.Accel = vm.Accel(v.accel.value)
	}
	for i, arg := range append(append([]string(nil), args...), v.files...) {
		info, err := os.Stat(arg)
		if err != nil || !info.Mode().IsRegular() {
			if i >= len(args) {
				return c, fmt.Errorf("--file %s: not a file", arg)
			}
			continue
		}
		guest := guestPath(arg)
		c.Files = append(c.Files, vm.File{Host: arg, Guest: guest})
		if i == 0 {
			if err := vm.CheckStatic(arg); err != nil {
				return c, err
			}
			c.Argv[0] = guest
		}
	}
	return c, nil
}

// guestProxies is where natlab looks in the VM for the kube-proxies of releases (proxy.DefaultDir): there is no Go to build them with.
const guestProxies = "/root/.cache/natlab/kube-proxy"

// proxiesNamed are the kube-proxies of the releases that a command's --kube-proxy names, built here and put where natlab has them in the VM.
func (p *program) proxiesNamed(ctx context.Context, args []string) (out []vm.File, err error) {
	words := strings.Fields(strings.ReplaceAll(strings.Join(args, " "), "--kube-proxy=", "--kube-proxy "))
	for i, word := range words {
		if word != "--kube-proxy" || i+1 == len(words) {
			continue
		}
		release, is := proxy.Release(words[i+1])
		if !is {
			continue
		}
		found, err := proxy.Find(ctx, release, p.err)
		if err != nil {
			return nil, err
		}
		out = append(out, vm.File{Host: found.Path, Guest: filepath.Join(guestProxies, release, "kube-proxy")})
	}
	return out, nil
}

// guestPath is where a host file stands in the VM: the command runs in /work, so a relative path holds there too.
func guestPath(path string) string {
	if filepath.IsLocal(path) {
		return filepath.Join("/work", path)
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join("/work", filepath.Base(path))
}
