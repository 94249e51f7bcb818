package vm

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A kernel that no release has is told with those that there are.
func TestNoKernel(t *testing.T) {
	t.Parallel()
	spec, err := ParseSpec("6.13")
	require.NoError(t, err)
	err = noKernel(spec, "cloud kernels")
	require.ErrorIs(t, err, ErrNoKernel)
	require.Regexp(t, "^kernel 6\\.13: no such kernel .*; there are .*bookworm, 6\\.1,.* 6\\.12", err)
}

func TestParseSpec(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		in    string
		want  Spec
		first string // the release that is asked first
	}{
		// a release
		{"bookworm", Spec{Release: "bookworm"}, "bookworm"},
		{"sid", Spec{Release: "sid"}, "sid"},
		// a version finds its release
		{"5.10", Spec{Version: "5.10"}, "bullseye"},
		{"6.1", Spec{Version: "6.1"}, "bookworm"},
		{"6.12", Spec{Version: "6.12"}, "bookworm"},
		{"7.x", Spec{Version: "7"}, "sid"},
		{"6.12.117+deb12", Spec{Version: "6.12.117+deb12"}, "bookworm"},
		// both
		{"trixie/6.12", Spec{Release: "trixie", Version: "6.12"}, "trixie"},
	} {
		t.Run(row.in, func(t *testing.T) {
			t.Parallel()
			got, err := ParseSpec(row.in)
			require.NoError(t, err, row.in)
			require.Equal(t, row.want, got)
			require.Equal(t, row.first, got.candidates()[0].name, row.in)
		})
	}
	for _, in := range []string{"", "plan9", "6.1;rm", "-o", "bookworm/", "bookworm/x", "6.1/6.2", "../6.1"} {
		_, err := ParseSpec(in)
		require.ErrorIs(t, err, ErrSpec, in)
	}
}

func TestSpecMatchesOnABoundary(t *testing.T) {
	t.Parallel()
	spec := Spec{Version: "6.1"}
	require.True(t, spec.matches("6.1.0-56"))
	require.True(t, spec.matches("6.1"))
	require.False(t, spec.matches("6.12.117+deb12"))
	require.True(t, Spec{}.matches("7.2"))
}

func TestCloudKernels(t *testing.T) {
	t.Parallel()
	got := cloudKernels([]string{
		"linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64", "linux-image-cloud-amd64", "linux-image-6.1-cloud-amd64",
		"linux-image-6.1.0-56-cloud-amd64-unsigned", "linux-image-6.1.0-56-amd64", "linux-headers-6.1.0-56-cloud-amd64",
		"linux-image-7.2.13+deb14-cloud-amd64", "linux-binary-7.2.13+deb14-cloud-amd64", "linux-modules-7.2.13+deb14-cloud-amd64",
		"linux-binary-unsigned-7.2.13+deb14-cloud-amd64",
	})
	require.Equal(t, []kernelPackages{
		{"6.1.0-9", []string{"linux-image-6.1.0-9-cloud-amd64"}},
		{"6.1.0-56", []string{"linux-image-6.1.0-56-cloud-amd64"}},
		{"7.2.13+deb14", []string{"linux-binary-7.2.13+deb14-cloud-amd64", "linux-modules-7.2.13+deb14-cloud-amd64"}},
	}, got)
}

func TestDebianMirrors(t *testing.T) {
	t.Parallel()
	m := debianMirrors(strings.Join([]string{
		"https://tools.example nodistro", "https://cloud.example sdk-bookworm", "https://mirror.example/debian bookworm-updates",
		"https://mirror.example/debian bookworm", "https://security.example bookworm-security", "https://other.example/debian sid",
	}, "\n"))
	require.Equal(t, Mirror{"https://mirror.example/debian", "https://security.example"}, m)
	require.Zero(t, debianMirrors("https://archive.example/ubuntu noble"))
}

// A mirror is a URL, and its security suites are one behind a comma.
// Keys that the machine does not know are told with the package that has them; of another failure nothing is made up.
func TestOldKeys(t *testing.T) {
	t.Parallel()
	a := apt{release: release{name: "bookworm"}}
	require.Contains(t, a.oldKeys("W: GPG error: http://deb.debian.org/debian bookworm InRelease: the public key is not available: NO_PUBKEY 0123456789ABCDEF"), "install the package debian-archive-keyring that Debian bookworm itself has")
	require.Empty(t, a.oldKeys("E: Failed to fetch http://deb.debian.org/debian/dists/bookworm/InRelease"))
}

func TestParseMirror(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Mirror{
		"":                               {},
		"https://mirror.example/debian/": {Main: "https://mirror.example/debian"},
		"http://a.example/debian,https://b.example/debian-security": {"http://a.example/debian", "https://b.example/debian-security"},
		"file:///srv/debian": {Main: "file:///srv/debian"},
	} {
		got, err := ParseMirror(text)
		require.NoError(t, err)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"mirror.example", "https://", "ftp://a.example", "https://a.example,", "https://a.example/ x", "https://a.example/\ndeb", ","} {
		_, err := ParseMirror(text)
		require.ErrorIs(t, err, ErrMirror, text)
	}
}

// The dependencies of a module stand before what they need themselves, whatever the order of its depends field:
// modprobe loads the list from its end.
func TestModuleOrder(t *testing.T) {
	t.Parallel()
	for _, depends := range [][]string{{"llc", "stp"}, {"stp", "llc"}} {
		set := moduleSet{
			"bridge": {path: "bridge.ko", depends: depends, aliases: []string{"rtnl-link-bridge"}},
			"stp":    {path: "stp.ko", depends: []string{"llc"}},
			"llc":    {path: "llc.ko"},
		}
		require.Equal(t, []string{"stp", "llc"}, set.closure("bridge"))
		require.Equal(t, "bridge.ko: stp.ko llc.ko\nllc.ko:\nstp.ko: llc.ko\n", set.depText())
		require.Equal(t, "alias rtnl-link-bridge bridge\n", set.aliasText())
	}
}

// slowly is a line that takes a few bytes at a time, and longer for all than a dry pipe is waited for.
type slowly struct{ to bytes.Buffer }

func (s *slowly) Write(p []byte) (int, error) {
	for part := range slices.Chunk(p, maxFrame/4) {
		time.Sleep(pipeDry) // the line's own pace
		s.to.Write(part)
	}
	return len(p), nil
}

// All that is in a pipe when the command has ended comes over the line, though somebody holds the pipe on, and however slow the line is.
func TestTheRestOfAPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()                             //nolint:errcheck // it was only read
	defer w.Close()                             //nolint:errcheck // it is held on
	said := bytes.Repeat([]byte("x"), maxFrame) // as much as a pipe holds
	_, err = w.Write(said)
	require.NoError(t, err)
	require.NoError(t, r.SetReadDeadline(time.Now()))
	var line slowly
	_, err = io.CopyBuffer(struct{ io.Writer }{&line}, struct{ io.Reader }{r}, make([]byte, 1024))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, copyRest(struct{ io.Writer }{&line}, r))
	require.Equal(t, len(said), line.to.Len())
}

func TestFrames(t *testing.T) {
	t.Parallel()
	big := bytes.Repeat([]byte("x"), maxFrame+17)
	var line bytes.Buffer
	line.WriteString("BIOS noise \x00natlab-\x00natlab-vm-1\n")
	w := &frameWriter{w: &line}
	require.NoError(t, w.send(frameStdout, big))
	require.NoError(t, w.send(frameExit, []byte{3}))
	var out []byte
	status := -1
	err := readFrames(&line, func(kind frameKind, payload []byte) error {
		switch kind {
		case frameStdout:
			out = append(out, payload...)
		case frameExit:
			status = int(payload[0])
		case frameStderr, frameFile, frameFault:
			t.Errorf("frame %q", kind)
		}
		return nil
	})
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, big, out)
	require.Equal(t, 3, status)

	// a line that ends before init spoke, and one out of step
	require.ErrorIs(t, readFrames(strings.NewReader("panic"), nil), errNoGreeting)
	require.ErrorContains(t, readFrames(strings.NewReader(greeting+"o\xff\xff\xff\xff"), nil), "protocol error")
}

// Whatever comes on the line, it is frames that fit, then an end; written again they are the bytes that they came as.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{
		"", "BIOS", "x\x00natlab-\x00natlab-vm-1\n", "o\x00\x00\x00\x02hi", "o\x00\x00\x00\x02hix\x00\x00\x00\x01\x03", "f\x00\x00\x00\x04a\x00bc",
		"!\x00\x00\x00\x00", "o\x00\x01\x00\x01", "o\xff\xff\xff\xff", "x\x00\x00\x00\x01",
	} {
		f.Add([]byte(s))
		f.Add([]byte(greeting + s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var again bytes.Buffer
		w := &frameWriter{w: &again}
		err := readFrames(bytes.NewReader(line), func(kind frameKind, payload []byte) error {
			require.LessOrEqual(t, len(payload), maxFrame)
			return w.send(kind, payload)
		})
		require.Error(t, err, "a line ends")
		_, frames, greeted := bytes.Cut(line, []byte(greeting))
		if !greeted {
			require.ErrorIs(t, err, errNoGreeting)
			require.Empty(t, again.Bytes())
			return
		}
		require.True(t, bytes.HasPrefix(frames, again.Bytes()))
	})
}

func TestReceptionRefusesPathsOutside(t *testing.T) {
	t.Parallel()
	r := &reception{config: Config{Out: t.TempDir()}}
	for _, name := range []string{"../x", "/etc/passwd", ""} {
		require.Error(t, r.take(frameFile, []byte(name+"\x00data")), name)
	}
	require.NoError(t, r.take(frameFile, []byte("a/b.json\x00one")))
	require.NoError(t, r.take(frameFile, []byte("a/b.json\x00two")))
	require.NoError(t, r.close())
	require.FileExists(t, r.config.Out+"/a/b.json")
}

func TestTailKeepsTheLastLines(t *testing.T) {
	t.Parallel()
	var console tail
	for range 2000 {
		_, err := console.Write([]byte("noise\r\n"))
		require.NoError(t, err)
	}
	_, err := console.Write([]byte("Kernel panic - not syncing\r\nend\r\n"))
	require.NoError(t, err)
	require.Equal(t, "Kernel panic - not syncing\nend", console.lastLines(2))
}

func TestToolFile(t *testing.T) {
	t.Parallel()
	for _, row := range [][2]string{
		{"lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"},
		{"usr/lib/x86_64-linux-gnu/xtables/libxt_nat.so", "usr/lib/x86_64-linux-gnu/xtables/libxt_nat.so"},
		{"usr/sbin/xtables-nft-multi", "usr/sbin/xtables-nft-multi"},
		{"usr/sbin/nft", "usr/sbin/nft"},
		{"usr/sbin/ipset", "usr/sbin/ipset"},
		{"bin/busybox", "usr/bin/busybox"},
		{"bin/ip", "usr/bin/ip"},
		{"usr/lib/x86_64-linux-gnu/gconv/EUC-KR.so", ""},
		{"usr/share/doc/iptables/copyright", ""},
	} {
		require.Equal(t, row[1], toolFile(row[0]), row[0])
	}
}

func TestSourceFile(t *testing.T) {
	t.Parallel()
	for _, row := range [][2]string{
		{"iptables-1.8.9/", ""},
		{"iptables-1.8.9/extensions/", "extensions"},
		{"iptables-1.8.9/extensions/libxt_CT.t", "extensions/libxt_CT.t"},
	} {
		require.Equal(t, row[1], sourceFile(row[0]), row[0])
	}
}

func TestFaultShowsTheConsole(t *testing.T) {
	t.Parallel()
	err := error(&Fault{Kernel: Kernel{Version: "6.1.0-56"}, Cause: ErrNoExit, Console: "Kernel panic"})
	require.ErrorIs(t, err, ErrNoExit)
	require.ErrorContains(t, err, "Kernel panic")
	var fault *Fault
	require.ErrorAs(t, err, &fault)
}

// The TSC counts as a clock where the machine's own processor has it, and not where it is emulated.
func TestClock(t *testing.T) {
	for accel, want := range map[Accel]string{AccelKVM: " tsc=reliable", AccelTCG: " tsc=unstable clocksource=hpet"} {
		args := machine{accel: accel}.args()
		require.True(t, strings.HasSuffix(args[slices.Index(args, "-append")+1], want), args)
	}
}
