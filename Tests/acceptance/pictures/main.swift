// What the library makes of pictures, for pictures.py to hold against Pillow and transformers: reads lines of JSON from the
// standard input, writes raw numbers to the files that they name, and a line of JSON for each to the standard output.
//
//   {"decode": PICTURE, "to": FILE, "upright": bool, "white": bool}     [height, width, 3] in bytes
//   {"frame": PICTURE, "folder": FOLDER, "to": FILE}                    the same after resize and crop
//   {"encode": PICTURE, "folder": FOLDER, "to": FILE, "layer": N}       states and then the pooled vector in f32
//   {"time": PICTURE, "folder": FOLDER, "runs": N, "threads": N, "to": FILE}     milliseconds of each encoding, in f32
//   {"prepare": PICTURE, "folder": FOLDER, "to": FILE}                  [3, height, width] in f32, a tower's input
import Encoders
import Files
import Glibc
import Tensor

func write(_ bytes: UnsafeRawBufferPointer, to path: String) {
    guard let file = fopen(path, "wb") else { fatalError("cannot write \(path)") }
    fwrite(bytes.baseAddress, 1, bytes.count, file)
    fclose(file)
}

func answer(_ job: JSON) throws -> [Int] {
    guard let to = job["to"]?.string else { fatalError("no 'to' in a job") }
    var options = PictureOptions()
    options.upright = job["upright"]?.bool ?? true
    options.transparency = job["white"]?.bool ?? true ? .onWhite : .dropped
    if let path = job["decode"]?.string {
        let picture = try Picture(path: path, options: options)
        picture.pixels.withUnsafeBytes { write($0, to: to) }
        return [picture.height, picture.width, 3]
    }
    guard let folder = job["folder"]?.string else { fatalError("no 'folder' in a job") }
    if let path = job["encode"]?.string {
        let encoder = try ImageEncoder(folder: folder)
        let output = try encoder.encode([Picture(path: path, options: options)], layer: job["layer"]?.integer)[0]
        (output.states.values + output.pooled.values).withUnsafeBytes { write($0, to: to) }
        return [output.states.count + output.pooled.count]
    }
    if let path = job["time"]?.string {
        if let threads = job["threads"]?.integer { Threads.count = threads }
        let encoder = try ImageEncoder(folder: folder)
        let picture = try Picture(path: path)
        let times = try (0..<(job["runs"]?.integer ?? 1)).map { _ in
            let start = ContinuousClock.now
            _ = try encoder.encode([picture])
            return Float((ContinuousClock.now - start) / .milliseconds(1))
        }
        times.withUnsafeBytes { write($0, to: to) }
        return [times.count]
    }
    let processor = try PictureProcessor(folder: folder)
    if let path = job["frame"]?.string {
        let picture = try processor.framed(Picture(path: path, options: options))
        picture.pixels.withUnsafeBytes { write($0, to: to) }
        return [picture.height, picture.width, 3]
    }
    guard let path = job["prepare"]?.string else { fatalError("an unknown job") }
    let tensor = try processor(Picture(path: path, options: options))
    tensor.withUnsafeBytes { write($0, to: to) }
    return tensor.shape
}

while let line = readLine() {
    let job = try JSON.parse(line, source: "job")
    do {
        let shape = try answer(job)
        print(try JSON.object(["shape": JSON(shape)]).text())
    } catch {
        print(try JSON.object(["error": .string("\(error)")]).text())
    }
    fflush(nil)
}
