package scenarios

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/inspect"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/nat/view"
)

// doIptables: iptables NODE ARGS... runs the iptables program of the run's backend in a node, as another agent would;
// iptables legacy:NODE or nft:NODE that of the named one.
func doIptables(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if len(args) < 2 {
		return usagef("iptables [legacy:|nft:]NODE ARGS...")
	}
	backend, node, named := strings.Cut(args[0], ":")
	program := "iptables-" + backend
	if !named {
		node, program = args[0], string(s.lab.Backend())
	}
	return s.exec(ts, not, node, append([]string{program, "-w"}, args[1:]...)) // -w: other labs may be at work
}

// doRun: run MEMBER PROGRAM ARGS... runs a program in a namespace; its output is for stdout and stderr to look at.
func doRun(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if len(args) < 2 {
		return usagef("run MEMBER PROGRAM ARGS...")
	}
	return s.exec(ts, not, args[0], args[1:])
}

func (s *stage) exec(ts *testscript.TestScript, not bool, member string, argv []string) error {
	var out, errs bytes.Buffer
	status, err := s.lab.Exec(s.ctx, member, argv, lab.Streams{Out: &out, Err: &errs})
	if err != nil {
		return err
	}
	if _, err := ts.Stdout().Write(out.Bytes()); err != nil {
		return err
	}
	if _, err := ts.Stderr().Write(errs.Bytes()); err != nil {
		return err
	}
	if (status == 0) == not {
		return fmt.Errorf("%s in %s: status %d: %s", strings.Join(argv, " "), member, status, strings.TrimSpace(errs.String()))
	}
	return nil
}

// doSysctl: sysctl MEMBER KEY=VALUE...
func doSysctl(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) < 2 {
		return usagef("sysctl MEMBER KEY=VALUE...")
	}
	h, err := s.lab.Handle(args[0])
	if err != nil {
		return err
	}
	return h.Do(func() error {
		for _, a := range args[1:] {
			key, value, ok := strings.Cut(a, "=")
			if !ok || strings.Contains(key, "..") {
				return usagef("%q: want KEY=VALUE", a)
			}
			if !strings.Contains(key, "/") {
				key = strings.ReplaceAll(key, ".", "/")
			}
			if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// doServer: server stop|start NAMESPACE/POD.
func doServer(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	switch {
	case !not && len(args) == 2 && args[0] == "stop":
		return s.lab.StopServer(s.ctx, args[1])
	case !not && len(args) == 2 && args[0] == "start":
		return s.lab.StartServer(s.ctx, args[1])
	}
	return usagef("server stop|start NAMESPACE/POD")
}

// doListen: listen MEMBER tcp|udp ADDRESS:PORT starts a server of the member's own, which answers as MEMBER until the end.
func doListen(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) != 3 {
		return usagef("listen MEMBER tcp|udp ADDRESS:PORT")
	}
	proto, err := nat.ParseProto(args[1])
	if err != nil {
		return err
	}
	at, err := netip.ParseAddrPort(args[2])
	if err != nil {
		return usagef("%q: want ADDRESS:PORT", args[2])
	}
	h, err := s.lab.Handle(args[0])
	if err != nil {
		return err
	}
	server, err := traffic.Serve(h, args[0], proto, at)
	if err != nil {
		return err
	}
	s.servers = append(s.servers, server)
	return nil
}

// doView: view NODE VERSION [style=list] prints a node's rules as a version of iptables shows them, for stdout to look at.
func doView(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if not || len(args) < 2 {
		return usagef("view NODE VERSION [style=save|list]")
	}
	o, err := options(args[2:], "style")
	if err != nil {
		return err
	}
	version, err := view.ParseVersion(args[1])
	if err != nil {
		return err
	}
	h, err := s.lab.Handle(args[0])
	if err != nil {
		return err
	}
	raw, err := inspect.Read(h, dataplane.Legacy, nat.IPv4)
	if err != nil {
		return err
	}
	view := view.View{Version: version, Sets: raw.Sets}
	text, _ := view.Save(raw.Tables...)
	if o["style"] == "list" {
		text, _ = view.List(raw.Tables...)
	}
	_, err = ts.Stdout().Write([]byte(text))
	return err
}

// doAudit: audit NODE KIND... holds if natlab audit finds each of the kinds in the node; ! audit NODE if it finds nothing.
func doAudit(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if len(args) == 0 || not && len(args) > 1 || !not && len(args) < 2 {
		return usagef("audit NODE KIND..., or ! audit NODE")
	}
	h, err := s.lab.Handle(args[0])
	if err != nil {
		return err
	}
	findings, err := inspect.Audit(s.ctx, h, s.lab.Cluster(), args[0], inspect.Options{Backend: s.lab.Backend(), Lab: true})
	if err != nil {
		return err
	}
	kinds := map[string]bool{}
	for _, f := range findings {
		kinds[string(f.Kind)] = true
		if _, err := fmt.Fprintf(ts.Stdout(), "%s: %s\n", f.Kind, f.What); err != nil {
			return err
		}
	}
	if not && len(findings) > 0 {
		return fmt.Errorf("%s: want no finding, got %d; the first is %s: %s", args[0], len(findings), findings[0].Kind, findings[0].What)
	}
	for _, k := range args[1:] {
		if !kinds[k] {
			return fmt.Errorf("%s: want a finding %q, got %v", args[0], k, kinds)
		}
	}
	return nil
}
