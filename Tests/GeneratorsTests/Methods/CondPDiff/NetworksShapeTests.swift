import Tensor
import Testing

@testable import Methods

/// Sizes from the published code's runs, and from the independent PyTorch build of `Tests/golden/cond_pdiff.py`.
@Suite struct CondPDiffNetworksShapeTests {
    @Test(
        "a language adapter's lengths, stage by stage, are the published ones",
        arguments: [
            (73_728, 73_750, [14749, 2949, 589, 117], 468, [589, 2949, 14749, 73751]),
            (147_456, 147_500, [29499, 5899, 1179, 235], 940, [1179, 5899, 29499, 147_501]),
            (294_912, 295_000, [58999, 11799, 2359, 471], 1884, [2359, 11799, 58999, 295_001]),
            (1_179_648, 1_180_000, [235_999, 47199, 9439, 1887], 7548, [9439, 47199, 235_999, 1_180_001]),
            (92_160, 92_500, [18499, 3699, 739, 147], 588, [739, 3699, 18499, 92501]),
            (2_048, 2_500, [499, 99, 19, 3], 12, [19, 99, 499, 2501]),
        ])
    func languageLengths(d: Int, padded: Int, encoder: [Int], latent: Int, decoder: [Int]) throws {
        let configuration = ConvAutoencoderConfiguration.medium
        let lengths = configuration.lengths(valueCount: d)
        #expect(lengths.padded == padded)
        #expect(lengths.encoder == encoder)
        #expect(lengths.decoder == decoder)
        #expect(configuration.latentCount(valueCount: d) == latent)

        let golden = try #require(GoldenFile.shared.lengths["\(d)"])
        #expect(lengths.padded == golden.padded)
        #expect(lengths.encoder + lengths.decoder == golden.lengths)
        #expect(configuration.latentCount(valueCount: d) == golden.latent)
    }

    @Test func `a padded length adds a block even where none is missing`() {
        #expect(ConvAutoencoderConfiguration.medium.lengths(valueCount: 1250).padded == 1875)
        #expect(ConvAutoencoderConfiguration.small.lengths(valueCount: 704).padded == 729)
    }

    @Test func `the language autoencoder has 1,000,497 parameters whatever the adapter`() {
        #expect(ConvAutoencoderConfiguration.medium.parameterCount == 1_000_497)
    }

    @Test(
        "the language denoiser's parameters are the published number for each latent",
        arguments: [
            (468, 3_789_381), (940, 5_168_093), (1884, 9_262_221), (7548, 71_254_701), (588, 4_097_661),
        ])
    func languageDenoiser(latent: Int, count: Int) {
        let configuration = ConcatConvDenoiserConfiguration()
        #expect(configuration.parameterCount(latentCount: latent, conditionCount: 512) == count)
        #expect(GoldenFile.shared.counts["concatDenoiser\(latent)"] == count)
    }

    @Test func `the vision networks have the published numbers of parameters`() {
        let counts = GoldenFile.shared.counts
        let vision = StridedAutoencoderConfiguration.vision
        let autoencoder = vision.parameterCount(valueCount: 516_096)
        #expect(autoencoder == counts["visionAutoencoder"])
        // The published total counts a variance head that the deterministic mode never runs.
        #expect(autoencoder + vision.varianceHeadCount == 45_271_985)
        #expect(vision.bottleneckLength(valueCount: 516_096) == 504)

        let small = StridedAutoencoderConfiguration.visionSmall
        #expect(small.parameterCount(valueCount: 55_296) == counts["cifarAutoencoder"])
        #expect(small.bottleneckLength(valueCount: 55_296) == 108)

        let denoiser = VisionDenoiserConfiguration().parameterCount(latentCount: 256, conditionCount: 256)
        #expect(denoiser == counts["visionDenoiser"])
        #expect(denoiser == 99_977_095)
        #expect(ImageConditionWidths().parameterCount == 485_120)
        #expect(denoiser + ImageConditionWidths().parameterCount == 100_462_215)
    }

    @Test func `the parent networks have as many parameters as their PyTorch build`() {
        let parent = StridedAutoencoderConfiguration.parent
        #expect(parent.bottleneckLength(valueCount: 2048) == 64)
        #expect(parent.parameterCount(valueCount: 2048) == GoldenFile.shared.counts["parentAutoencoder"])
        let denoiser = ParentDenoiserConfiguration().parameterCount(latentCount: 128)
        #expect(denoiser == GoldenFile.shared.counts["parentDenoiser"])
    }

    @Test func `a built network has as many parameters as its configuration says`() {
        var random = Random(seed: 1)
        let conv = ConvAutoencoder<Float>(.medium, valueCount: 1250, random: &random)
        #expect(conv.parameterCount == 1_000_497)
        let concat = ConcatConvDenoiser<Float>(latentCount: 8, conditionCount: 5, random: &random)
        #expect(
            concat.parameterCount == ConcatConvDenoiserConfiguration().parameterCount(latentCount: 8, conditionCount: 5)
        )
        let parent = StridedAutoencoder<Float>(.parent, valueCount: 2048, random: &random)
        #expect(parent.parameterCount == StridedAutoencoderConfiguration.parent.parameterCount(valueCount: 2048))
        let denoiser = ParentDenoiser<Float>(latentCount: 128, random: &random)
        #expect(denoiser.parameterCount == ParentDenoiserConfiguration().parameterCount(latentCount: 128))
        let strided = StridedAutoencoderConfiguration(kernel: 9, channels: [4, 6, 3], latentCount: 5, isWide: true)
        let vision = StridedAutoencoder<Float>(strided, valueCount: 100, random: &random)
        #expect(vision.parameterCount == strided.parameterCount(valueCount: 100))
        let unet = VisionDenoiserConfiguration(channels: [4, 6, 4])
        for condition in [0, 3, 16] {
            let network = VisionDenoiser<Float>(unet, latentCount: 16, conditionCount: condition, random: &random)
            #expect(network.parameterCount == unet.parameterCount(latentCount: 16, conditionCount: condition))
        }
        let image = ImageConditionEncoder<Float>(random: &random)
        #expect(image.parameterCount == ImageConditionWidths().parameterCount)
    }

    @Test(
        "adapters of any length come back with that length",
        arguments: [31, 1250, 6144, 6145])
    func arbitraryLengths(d: Int) throws {
        var random = Random(seed: 2)
        let x: Tensor<Float> = random.normal([2, d])
        var strided = StridedAutoencoderConfiguration(kernel: 9, channels: [3, 4, 5, 6, 4], latentCount: 7)
        try strided.check(valueCount: d)
        let parent = StridedAutoencoder<Float>(strided, valueCount: d, random: &random)
        strided.isWide = true
        let vision = StridedAutoencoder<Float>(strided, valueCount: d, random: &random)
        for network in [vision, parent] as [any Autoencoder<Float>] {
            #expect(network.encode(x).shape == [2, 7])
            #expect(network.decode(network.encode(x)).shape == [2, d])
        }
        guard d >= 1250 else { return }
        let conv = ConvAutoencoder<Float>(
            .init(decoderChannels: [4, 6, 6, 4]), valueCount: d, random: &random)
        #expect(conv.encode(x).shape == [2, conv.latentCount])
        #expect(conv.decode(conv.encode(x)).shape == [2, d])
    }

    @Test func `settings that make no network are refused with a reason`() {
        func message(_ body: () throws(LoragenError) -> Void) -> String {
            do {
                try body()
                return ""
            } catch {
                #expect(error.code == .invalidArgument)
                return error.message
            }
        }
        let medium = ConvAutoencoderConfiguration.medium
        // A latent map of length 1 would be normalised to zero.
        #expect(message { () throws(LoragenError) in try medium.check(valueCount: 1249) }.contains("too few"))
        #expect(message { () throws(LoragenError) in try medium.check(valueCount: 1250) }.isEmpty)
        #expect(message { () throws(LoragenError) in try medium.check(valueCount: 0) }.contains("number of values"))
        var odd = medium
        odd.decoderChannels = [5, 256, 256, 8]
        #expect(message { () throws(LoragenError) in try odd.check(valueCount: 73_728) }.contains("fit together"))
        odd = medium
        odd.encoderChannels = []
        #expect(!message { () throws(LoragenError) in try odd.check(valueCount: 73_728) }.isEmpty)
        odd = medium
        odd.latentNoise = .nan
        #expect(message { () throws(LoragenError) in try odd.check(valueCount: 73_728) }.contains("noise"))
        var strided = StridedAutoencoderConfiguration.vision
        strided.kernel = 8
        #expect(message { () throws(LoragenError) in try strided.check(valueCount: 6144) }.contains("odd"))
        var unet = VisionDenoiserConfiguration()
        unet.channels = [64, 3]
        #expect(
            message { () throws(LoragenError) in try unet.check(latentCount: 256, conditionCount: 0) }.contains("even"))
        var parent = ParentDenoiserConfiguration()
        parent.channels = [64, 128, 256]
        #expect(
            message { () throws(LoragenError) in try parent.check(latentCount: 128, conditionCount: 0) }
                .contains("mirrored"))
    }
}
