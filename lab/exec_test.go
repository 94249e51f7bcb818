package lab

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/topology"
)

func TestExec(t *testing.T) {
	l := raise(t, reference(t))
	run := func(member string, argv ...string) (string, string, int) {
		var out, errs bytes.Buffer
		status, err := l.Exec(t.Context(), member, argv, Streams{In: strings.NewReader("typed"), Out: &out, Err: &errs})
		require.NoError(t, err)
		return out.String(), errs.String(), status
	}
	out, _, status := run("vms105", "/bin/ls", "/sys/class/net")
	require.Equal(t, "calia011d753862\nens32\nlo\ntunl0\n", out)
	require.Zero(t, status)
	out, errs, status := run("velero/minio-b6d98746c-m7rzc", "/bin/sh", "-c", "cat; echo oops >&2; exit 7")
	require.Equal(t, "typed", out)
	require.Equal(t, "oops\n", errs)
	require.Equal(t, 7, status)
	_, _, status = run("outside", "/bin/sh", "-c", "kill -9 $$")
	require.Equal(t, 128+9, status)

	out, _, _ = run("vms105", "/bin/sh", "-c", "for name in vms103 outside localhost; do getent ahostsv4 $name | head -n 1; done")
	require.Equal(t, []string{"192.168.26.103", "STREAM", "vms103", "192.168.26.1", "STREAM", "outside", "127.0.0.1", "STREAM", "localhost"}, strings.Fields(out))
	out, _, _ = run("vms105", "/bin/cat", "/etc/resolv.conf")
	require.Equal(t, noResolver, out)

	_, err := l.Exec(t.Context(), "vms105", []string{"no-such-program"}, Streams{})
	require.EqualError(t, err, "run no-such-program in vms105: executable file not found in $PATH")
	_, err = l.Exec(t.Context(), "vms999", []string{"true"}, Streams{})
	require.ErrorContains(t, err, `has no member "vms999"`)
	_, err = l.Exec(t.Context(), "vms105", nil, Streams{})
	require.ErrorContains(t, err, "no command")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	status, err = l.Exec(ctx, "vms105", []string{"/bin/sh", "-c", "echo here; exec sleep 600"}, Streams{Out: writer(cancel)})
	require.NoError(t, err)
	require.Equal(t, 128+15, status)
}

// writer is a function that is called for each piece of output.
type writer func()

func (w writer) Write(b []byte) (int, error) {
	w()
	return len(b), nil
}

func TestExecAll(t *testing.T) {
	l := raise(t, reference(t))
	var out, errs bytes.Buffer
	script := `cat /proc/sys/net/ipv4/ip_forward; printf 'no end of line' >&2; [ -e /sys/class/net/calia011d753862 ] && exit 3; exit 0`
	statuses, err := l.ExecAll(t.Context(), l.Nodes(), []string{"/bin/sh", "-c", script}, Streams{Out: &out, Err: &errs})
	require.NoError(t, err)
	require.Equal(t, []int{0, 0, 0, 0, 3, 0}, statuses, "of vms105")
	require.True(t, slices.IsSorted(strings.Split(strings.TrimSpace(out.String()), "\n")), "the lines are in the order of the nodes: %s", out.String())
	for _, node := range l.Nodes() {
		require.Equal(t, 1, strings.Count(out.String(), node+" | 1\n"), out.String())
		require.Equal(t, 1, strings.Count(errs.String(), node+" | no end of line\n"), errs.String())
	}
	require.Equal(t, 6, strings.Count(out.String(), "\n"))
	_, err = l.ExecAll(t.Context(), []string{"vms100", "vms999"}, []string{"/bin/true"}, Streams{})
	require.ErrorContains(t, err, "vms999")
}

// TestServersStopAndStart asks the supervisor over its socket.
func TestServersStopAndStart(t *testing.T) {
	c := reference(t)
	require.NoError(t, Start(t.Context(), c, Options{With: os.Getpid()}))
	l, err := Open(t.Context(), c.Name)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	all := topology.Servers(l.Cluster())
	proxies := topology.ProxyServers(l.Cluster())
	running, err := l.RunningServers(t.Context())
	require.NoError(t, err)
	require.Equal(t, append(slices.Clone(all), proxies...), running)
	all = slices.Clip(all)
	require.Equal(t, topology.Server{
		Name: "velero/minio-b6d98746c-m7rzc", Member: "velero/minio-b6d98746c-m7rzc", Proto: "tcp",
		Addr: mustAddrPort(t, "10.244.169.89:9090"),
	}, all[len(all)-1])

	const dns = "kube-system/coredns-c676cc86f-kpvcj" // dns and dns-tcp on one port, metrics
	require.NoError(t, l.StopServer(t.Context(), dns))
	running, err = l.RunningServers(t.Context())
	require.NoError(t, err)
	require.Len(t, running, len(all)+len(proxies)-3)
	require.NoError(t, l.StopServer(t.Context(), dns), "a second time")
	require.NoError(t, l.StartServer(t.Context(), "udp 10.244.239.129:53 "+dns))
	running, err = l.RunningServers(t.Context())
	require.NoError(t, err)
	require.Len(t, running, len(all)+len(proxies)-2)
	require.NoError(t, l.StartServer(t.Context(), dns))
	require.ErrorContains(t, l.StopServer(t.Context(), "nobody"), `there is no server "nobody"`)
}
