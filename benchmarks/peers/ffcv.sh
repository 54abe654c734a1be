#!/bin/sh
# Installs FFCV into the environment given: sh benchmarks/peers/ffcv.sh build/peers
#
# It comes as source and wants the headers of OpenCV and of TurboJPEG. Where the system has none, Debian's or Ubuntu's
# packages are unpacked beside the environment, without root and without a change to the system. Why it can't be had, where it
# can't, is left in ffcv.txt in the environment; the benchmarks then do without it, and say so.
set -u
peers=$1
system=$(dirname "$peers")/ffcv-system
say_why() { echo "FFCV is left out: $1" >&2; echo "$1" >"$peers/ffcv.txt"; exit 0; }

rm -f "$peers/ffcv.txt"
"$peers/bin/python" -c 'import ffcv' 2>/dev/null && exit 0
command -v c++ >/dev/null && command -v pkg-config >/dev/null || say_why "it needs a C++ compiler and pkg-config"
if ! pkg-config --exists opencv4 libturbojpeg; then
  hint="it needs OpenCV's and TurboJPEG's headers: apt-get install libopencv-dev libturbojpeg0-dev"
  command -v apt-get >/dev/null || say_why "$hint"
  mkdir -p "$system/packages" "$system/pkgconfig" || say_why "$hint"
  system=$(cd "$system" && pwd)
  headers=$(apt-cache depends libopencv-dev | sed -n 's/.*Depends: \(libopencv-.*-dev\)$/\1/p' | grep -v contrib)
  libraries=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    libopencv-imgproc-dev libturbojpeg0-dev | grep -E '^lib(opencv|turbojpeg|tbb|hwloc|blas3|lapack3|gfortran|quadmath)')
  (cd "$system/packages" && apt-get download libopencv-dev $headers $libraries >/dev/null 2>&1) || say_why "$hint"
  for package in "$system"/packages/*.deb; do dpkg -x "$package" "$system" || say_why "$hint"; done
  lib=$(dirname "$(find "$system/usr/lib" -name 'libopencv_core.so' | head -n 1)")
  found="-Wl,--disable-new-dtags -Wl,-rpath,$lib:$lib/blas:$lib/lapack -Wl,-rpath-link,$lib:$lib/blas:$lib/lapack"
  include="-I$system/usr/include/opencv4 -I$system/usr/include -I$system/usr/include/$(basename "$lib")/opencv4"
  printf 'Name: opencv4\nDescription: OpenCV\nVersion: 4\nLibs: -L%s -lopencv_imgproc -lopencv_core\nCflags: %s\n' \
    "$lib" "$include" >"$system/pkgconfig/opencv4.pc"
  printf 'Name: libturbojpeg\nDescription: TurboJPEG\nVersion: 2\nLibs: -L%s -lturbojpeg\nCflags: -I%s/usr/include\n' \
    "$lib" "$system" >"$system/pkgconfig/libturbojpeg.pc"
  export PKG_CONFIG_PATH="$system/pkgconfig" LDFLAGS="$found"
fi
uv pip install --quiet --no-cache --python "$peers/bin/python" -r "$(dirname "$0")/requirements-ffcv.txt" \
  || say_why "it can't be built here, see above"
"$peers/bin/python" -c 'import ffcv' || say_why "it was built, but can't be imported, see above"
