package vm

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Mirror is where Debian's packages come from. What it has is believed by Debian's signatures alone.
type Mirror struct {
	Main     string // its URL: "https://mirror.example/debian"
	Security string // that of the security suites; "" for none
}

// MirrorVariable is the environment variable that names the mirror where --mirror does not.
const MirrorVariable = "NATLAB_MIRROR"

// debianKeyring has the keys that Debian signs its releases with.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// The classes of a machine that no package of Debian can be had on.
var (
	ErrNoApt     = errors.New("apt-get is not installed: Fedora has it as the package apt, beside dpkg and debian-keyring")
	ErrNoMirror  = errors.New("no Debian mirror")
	ErrNoKeyring = errors.New("no " + debianKeyring)
	ErrMirror    = errors.New("no mirror")
)

// ParseMirror reads a mirror as --mirror has it: its URL, and behind a comma that of the security suites, if there are any.
func ParseMirror(text string) (m Mirror, err error) {
	if text == "" {
		return m, nil
	}
	main, security, both := strings.Cut(text, ",")
	for _, site := range []string{main, security} {
		if site == "" && !both {
			continue
		}
		u, err := url.Parse(site)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" || u.Host+u.Path == "" || strings.ContainsAny(site, " \t\n[]") {
			return m, fmt.Errorf("%q: %w; want a URL such as https://mirror.example/debian, and behind a comma that of the security suites", text, ErrMirror)
		}
	}
	return Mirror{strings.TrimSuffix(main, "/"), strings.TrimSuffix(security, "/")}, nil
}
