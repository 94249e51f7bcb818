# natlab: a multi-node Kubernetes network on one machine, and the proof of what its NAT did.
#
#   sudo make lab     install what is missing, build, bring the lab up, prove every flow
#   sudo make test    every test, on the kernel
#   make test-core    what needs no root, no kernel and no network
#   make help         the rest

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# sudo drops what a login shell adds to PATH, so Go is looked for where it usually is; the same goes for iptables
# in /usr/sbin.
export PATH := $(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

# Nothing here needs C. Without it, what tests run is compiled of what they are compiled of themselves, and not a second time.
export CGO_ENABLED ?= 0

GO       ?= go
TOOL     := $(GO) tool -modfile=.ci/tools.mod
NATLAB   := bin/natlab
REVISION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

.PHONY: help lab build test conformance conformance-vm test-kube-proxy test-core diff diff-nft diff-uml diff-wire test-vm test-ipvs test-vm-all deps-vm test-browser validate test-deb test-rpm bench lint fmt deps module-path dist go-there root clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

lab: root deps build ## bring the reference lab up and prove every flow (root)
	@.ci/lab $(NATLAB)

build: go-there ## bin/natlab
	@CGO_ENABLED=0 $(GO) build -buildvcs=false -ldflags '-X main.revision=$(REVISION)' -o $(NATLAB) ./cmd/natlab

test: root go-there ## every test (root: they make network namespaces)
	@.ci/deps ip nft ipset conntrack
	@.ci/test $(GO)

test-kube-proxy: root go-there ## real kube-proxies in the lab, built once each: make test-kube-proxy NATLAB_KUBE_PROXY="1.33.0 ./kube-proxy" (root)
	@.ci/deps ip nft ipset conntrack
	NATLAB_KUBE_PROXY="$(or $(NATLAB_KUBE_PROXY),1.25.1 1.29.0 1.32.2 1.33.0 1.37.2)" $(GO) test -tags kubeproxy ./test -count=1 -timeout 60m -run '$(or $(RUN),^TestKubeProxy)' -bench '$(or $(BENCH),^BenchmarkKubeProxy)'

conformance: root deps build ## the 130 upstream end-to-end tests of Services, on both backends (root)
	@$(NATLAB) conformance && $(NATLAB) conformance --backend iptables-nft

conformance-vm: deps-vm build ## the same in a VM whose kernel has SCTP sockets; an hour where it is emulated
	@$(NATLAB) vm run --kernel $(or $(KERNEL),6.12) --timeout 3h -- natlab conformance --parallel 1 --timeout 30m

test-core: go-there ## the tests of topology and nat: no root, no network, a minute
	$(GO) test -tags core -count=1 -timeout 5m ./topology/... ./nat/...

diff: root go-there ## N generated packets in the kernel and in the emulator (root): make diff N=1000000
	@.ci/deps ip nft ipset conntrack
	NATLAB_DIFF=$(or $(N),1000000) $(GO) test ./test -count=1 -run '^TestDifferential$$' -timeout 24h -v

diff-nft: root go-there ## the same for tables of nf_tables' own, loaded by nft (root): make diff-nft N=500000
	@.ci/deps ip nft ipset conntrack
	NATLAB_DIFF=$(or $(N),500000) $(GO) test ./test -count=1 -run '^TestDifferentialNative$$' -timeout 24h -v

diff-uml: root go-there ## the same on another kernel, which is built as a program of this machine: make diff-uml KERNEL=6.1
	@for p in gcc make flex bison bc; do command -v $$p >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends gcc libc6-dev make flex bison bc; break; }; done
	NATLAB_DIFF=$(or $(N),500000) NATLAB_KERNELS="$(or $(KERNEL),6.1)" NATLAB_ACCEL=uml $(GO) test -tags vm ./test/vm -count=1 -run '^TestNativeTwins$$' -timeout 24h -v

diff-wire: root go-there ## N generated packets through the kernel's NAT and through the gateway on the wire (root): make diff-wire N=100000
	@.ci/deps ip nft ipset conntrack
	NATLAB_DIFF=$(or $(N),100000) $(GO) test ./test -count=1 -run '^TestTwinsOverTheWire$$' -timeout 24h -v

test-vm: deps-vm build ## the reference cluster and all scenarios on kernels 6.1 and 6.12, in VMs: make test-vm RUN=Scenarios
	NATLAB_KERNELS="6.1 6.12" $(GO) test -tags vm -count=1 -timeout 40m ./test/vm $(if $(RUN),-run '$(RUN)')

test-ipvs: deps-vm build ## ipvs mode in a VM of kernel 6.12: a small cluster, the six nodes of the reference cluster, and a bug of it; up to an hour where it is emulated
	NATLAB_KERNELS=6.12 $(GO) test -tags vm,ipvs -count=1 -timeout 90m ./test/vm -run IPVS

test-vm-all: deps-vm build ## the same on 5.10, 6.1, 6.12 and 7.x
	NATLAB_KERNELS="5.10 6.1 6.12 7.x" $(GO) test -tags vm -count=1 -timeout 60m ./test/vm

deps-vm: ## install qemu where it is missing (root)
	@command -v qemu-system-x86_64 >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends qemu-system-x86; }

test-browser: root go-there ## the pages in a headless Chromium, gone through by keyboard; it is installed where it is missing (root)
	@.ci/deps ip nft ipset conntrack
	@command -v chromium >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium; }
	$(GO) test -tags browser -count=1 -timeout 20m ./test/browser

validate: root deps build ## what natlab writes, read by others: xmllint, mermaid, tshark, man, shellcheck, actionlint; installed where they are missing (root)
	@.ci/validate $(NATLAB) $(GO)

test-deb: root dist ## the .deb of make dist in a fresh root, made by debootstrap: installed, a lab proved, purged (root)
	@.ci/test-deb bin/dist/natlab_*_$$(dpkg --print-architecture).deb

test-rpm: root dist ## the .rpm of make dist in a fresh root, by rpm: installed, verified, used, erased (root)
	@.ci/test-rpm bin/dist/natlab-*.$$(uname -m).rpm

bench: root deps go-there ## the figures: up, down, verify, rules (root)
	$(GO) test -run '^$$' -bench . -benchmem -timeout 20m ./...

lint: go-there ## golangci-lint with .golangci.yaml; the core must also build where there is no Linux
	$(TOOL) golangci-lint run ./...
	GOOS=darwin $(GO) vet ./topology/... ./nat/...

fmt: go-there ## format as lint wants it
	$(TOOL) golangci-lint fmt ./...

module-path: go-there ## give the module the path where it is hosted: make module-path TO=example.org/team/natlab
	@.ci/module-path "$(TO)" $(GO)

dist: go-there ## what there is to download, in bin/dist/: programs, packages, checksums: make dist VERSION=1.2.0
	@.ci/dist "$(or $(VERSION),0.0.0+$(REVISION))" $(GO)

deps: ## install the iptables programs where they are missing (root)
	@.ci/deps

go-there:
	@command -v $(GO) >/dev/null || { echo "natlab is built with Go 1.26 or later, and there is no '$(GO)' here: see https://go.dev/dl, or run make GO=/path/to/go" >&2; exit 2; }

root:
	@[ "$$(id -u)" = 0 ] || { echo "network namespaces need root: sudo make $(MAKECMDGOALS)" >&2; exit 2; }

clean: ## take away what was built
	rm -rf bin
