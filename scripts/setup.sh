# Installs what building, testing and the demo need on Debian bookworm; sourced by ./scripts/test and ./scripts/demo.
# setup_for=demo leaves out what only tests need. PYTHON=FILE names a Python that has the packages; else .venv gets them.
# Swift 6.3 is the one thing that has to be there already (https://www.swift.org/install/linux/debian/12).

command -v swift >/dev/null || {
    echo "Swift 6.3 is needed and not on the PATH: see https://www.swift.org/install/linux/debian/12" >&2
    exit 1
}

apt_packages=(
    libopenblas-serial-dev          # linear algebra, linked in statically
    libpcre2-dev                    # Python's regular expressions, linked in statically
    libyaml-dev                     # YAML of model cards and trainers' configs, linked in statically
    libutf8proc-dev                 # Unicode's tables for tokenizers, linked in statically
    libpng-dev libjpeg62-turbo-dev libwebp-dev zlib1g-dev # pictures, linked in statically
    libonnx-dev libprotobuf-dev     # the ONNX writer, a library of its own
    gcc g++ binutils pkg-config     # C and C++ hosts, checks of the library
    python3 python3-venv python3-dev # the Python host; the demo's host applies adapters in ONNX Runtime
)
[[ ${setup_for:-test} == demo ]] || apt_packages+=(
    cargo                           # the Rust host
    valgrind                        # memory checks of the C host
)
missing=()
for package in "${apt_packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
done
# A tool that is there by other means than apt need not be installed again.
wanted=()
for package in "${missing[@]}"; do
    case "$package" in
        cargo | gcc | valgrind) command -v "$package" >/dev/null || wanted+=("$package") ;;
        g++ | pkg-config) command -v "$package" >/dev/null || wanted+=("$package") ;;
        *) wanted+=("$package") ;;
    esac
done
if ((${#wanted[@]})); then
    echo "Installing ${wanted[*]}"
    as_root=()
    ((EUID == 0)) || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
fi

python_packages=(numpy==2.4.6 onnxruntime==1.31.1 onnx==1.23.2 safetensors==0.8.0 matplotlib==3.11.2 pytest==8.4.2)
venv=.venv
if [[ -z ${PYTHON:-} ]] && [[ ! -x $venv/bin/python || "$(cat $venv/packages 2>/dev/null)" != "${python_packages[*]}" ]]; then
    echo "Installing ${python_packages[*]} into $venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check "${python_packages[@]}"
    printf '%s' "${python_packages[*]}" >"$venv/packages"
fi
